// SPDX-License-Identifier: Apache-2.0
// Stand-in for the two functions of zlib that Verilator's FST writer uses, so that waves need no system headers: stores
// without compressing, which is always larger than the input, upon which the writer keeps the input as it is.
#pragma once
#include <cstring>

using Bytef = unsigned char;
using uLong = unsigned long;
using uLongf = unsigned long;
constexpr int Z_OK = 0;

inline uLong compressBound(uLong size) { return size + size / 65535 * 5 + 11; }

inline int compress2(Bytef* out, uLongf* out_size, const Bytef* in, uLong size, int) {
    const Bytef* const start = out;
    uLong a = 1, b = 0;  // Adler-32
    for (uLong i = 0; i < size; ++i) {
        a = (a + in[i]) % 65521;
        b = (b + a) % 65521;
    }
    *out++ = 0x78;
    *out++ = 0x01;
    do {
        const uLong count = size < 65535 ? size : 65535;
        const Bytef header[] = {Bytef(count == size), Bytef(count), Bytef(count >> 8), Bytef(~count), Bytef(~count >> 8)};
        std::memcpy(out, header, sizeof header);
        std::memcpy(out + sizeof header, in, count);
        out += sizeof header + count;
        in += count;
        size -= count;
    } while (size);
    for (const uLong half : {b, a}) {
        *out++ = static_cast<Bytef>(half >> 8);
        *out++ = static_cast<Bytef>(half);
    }
    *out_size = static_cast<uLongf>(out - start);
    return Z_OK;
}
