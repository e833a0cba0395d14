// SPDX-License-Identifier: Apache-2.0
// Stand-in for the two functions of LZ4 that Verilator's FST writer uses, so that waves need no system headers: a greedy
// compressor of the LZ4 block format (its "last literals" rules included), which any LZ4 reader decompresses.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

inline int LZ4_compress_default(const char* source, char* target, int size, int) {
    const auto* in = reinterpret_cast<const uint8_t*>(source);
    auto* out = reinterpret_cast<uint8_t*>(target);
    const auto put_length = [&out](int rest) {
        for (; rest >= 255; rest -= 255) *out++ = 255;
        *out++ = static_cast<uint8_t>(rest);
    };
    const auto put_literals = [&](int from, int count, int match) {
        *out++ = static_cast<uint8_t>((count < 15 ? count : 15) << 4 | (match < 15 ? match : 15));
        if (count >= 15) put_length(count - 15);
        std::memcpy(out, in + from, count);
        out += count;
    };
    std::vector<int> last(1 << 14, -1);  // where a hash of four bytes was last seen
    int done = 0;                        // up to here everything is in the output
    for (int i = 0; i + 12 < size;) {
        uint32_t four;
        std::memcpy(&four, in + i, 4);
        int& slot = last[four * 2654435761U >> 18];
        const int seen = slot;
        slot = i;
        if (seen < 0 || i - seen > 65535 || std::memcmp(in + seen, in + i, 4) != 0) {
            ++i;
            continue;
        }
        int length = 4;
        while (i + length < size - 5 && in[seen + length] == in[i + length]) ++length;
        put_literals(done, i - done, length - 4);
        *out++ = static_cast<uint8_t>(i - seen);
        *out++ = static_cast<uint8_t>((i - seen) >> 8);
        if (length - 4 >= 15) put_length(length - 4 - 15);
        i += length;
        done = i;
    }
    put_literals(done, size - done, 0);
    return static_cast<int>(out - reinterpret_cast<uint8_t*>(target));
}
