// SPDX-License-Identifier: Apache-2.0
// Models of the ECP5 cells that a synthesised core consists of, as far as it uses them: Yosys has none of its own for
// MULT18X18D and DP16KD. For simulating netlists in Verilator.

module LUT4 #(parameter [15:0] INIT = 0) (input A, B, C, D, output Z);
  assign Z = INIT[{D, C, B, A}];
endmodule

module PFUMX (input ALUT, BLUT, C0, output Z);
  assign Z = C0 ? ALUT : BLUT;
endmodule

module L6MUX21 (input D0, D1, SD, output Z);
  assign Z = SD ? D1 : D0;
endmodule

module CCU2C #(
    parameter [15:0] INIT0 = 0, parameter [15:0] INIT1 = 0, parameter INJECT1_0 = "NO", parameter INJECT1_1 = "NO"
) (input CIN, A0, B0, C0, D0, A1, B1, C1, D1, output S0, S1, COUT);
  wire l0 = INIT0[{D0, C0, B0, A0}], m0 = INIT0[{2'b00, B0, A0}];
  wire l1 = INIT1[{D1, C1, B1, A1}], m1 = INIT1[{2'b00, B1, A1}];
  wire carry = l0 ? CIN : (m0 & (INJECT1_0 != "YES"));
  assign S0 = l0 ^ (CIN & (INJECT1_0 != "YES"));
  assign S1 = l1 ^ (carry & (INJECT1_1 != "YES"));
  assign COUT = l1 ? carry : (m1 & (INJECT1_1 != "YES"));
endmodule

module TRELLIS_FF #(
    parameter GSR = "", parameter CEMUX = "1", parameter CLKMUX = "CLK", parameter LSRMUX = "LSR",
    parameter SRMODE = "LSR_OVER_CE", parameter REGSET = "RESET"
) (input CLK, LSR, CE, DI, M, output reg Q);
  wire enable = CEMUX == "1" ? 1'b1 : CEMUX == "INV" ? ~CE : CE;
  wire set = LSRMUX == "INV" ? ~LSR : LSR;
  initial Q = REGSET == "SET";
  always @(posedge CLK)
    if (set) Q <= REGSET == "SET";
    else if (enable) Q <= DI;
endmodule

module TRELLIS_DPR16X4 #(parameter WCKMUX = "WCK", parameter WREMUX = "WRE", parameter [63:0] INITVAL = 0) (
    input [3:0] DI, WAD, RAD, input WRE, WCK, output [3:0] DO
);
  reg [3:0] mem[0:15];
  integer i;
  initial for (i = 0; i < 16; i = i + 1) mem[i] = INITVAL[4*i+:4];
  always @(posedge WCK) if (WREMUX == "INV" ? ~WRE : WRE) mem[WAD] <= DI;
  assign DO = mem[RAD];
endmodule

module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE", parameter REG_INPUTA_CE = "CE0", parameter REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE", parameter REG_INPUTB_CE = "CE0", parameter REG_INPUTB_RST = "RST0",
    parameter REG_INPUTC_CLK = "NONE", parameter REG_PIPELINE_CLK = "NONE", parameter REG_OUTPUT_CLK = "NONE",
    parameter REG_OUTPUT_CE = "CE0", parameter REG_OUTPUT_RST = "RST0", parameter CLK0_DIV = "ENABLED",
    parameter GSR = "", parameter SOURCEB_MODE = "B_SHIFT", parameter RESETMODE = "SYNC"
) (
    input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
    input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
    output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17, P18, P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
  wire [17:0] a_in = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b_in = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  reg signed [17:0] a, b;
  reg signed [35:0] p;
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p;
  generate
    if (REG_INPUTA_CLK != "CLK0" || REG_INPUTB_CLK != "CLK0" || REG_OUTPUT_CLK != "CLK0") cell_without_registers bad();
  endgenerate
  always @(posedge CLK0) begin
    a <= a_in;
    b <= b_in;
    p <= a * b;
  end
endmodule

// 1024 words of 18 bits. Narrower words of 1, 2 and 4 bits leave the ninth bit of a byte out; a port of 36 bits takes two
// words, and its data continue from the pins of A to those of B.
module DP16KD #(
    parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18, parameter REGMODE_A = "NOREG", parameter REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC", parameter ASYNC_RESET_RELEASE = "SYNC", parameter CSDECODE_A = "0b000",
    parameter CSDECODE_B = "0b000", parameter CLKAMUX = "CLKA", parameter CLKBMUX = "CLKB", parameter GSR = "",
    parameter WRITEMODE_A = "NORMAL", parameter WRITEMODE_B = "NORMAL",
    parameter [319:0] INITVAL_00 = 0, parameter [319:0] INITVAL_01 = 0, parameter [319:0] INITVAL_02 = 0, parameter [319:0] INITVAL_03 = 0,
    parameter [319:0] INITVAL_04 = 0, parameter [319:0] INITVAL_05 = 0, parameter [319:0] INITVAL_06 = 0, parameter [319:0] INITVAL_07 = 0,
    parameter [319:0] INITVAL_08 = 0, parameter [319:0] INITVAL_09 = 0, parameter [319:0] INITVAL_0A = 0, parameter [319:0] INITVAL_0B = 0,
    parameter [319:0] INITVAL_0C = 0, parameter [319:0] INITVAL_0D = 0, parameter [319:0] INITVAL_0E = 0, parameter [319:0] INITVAL_0F = 0,
    parameter [319:0] INITVAL_10 = 0, parameter [319:0] INITVAL_11 = 0, parameter [319:0] INITVAL_12 = 0, parameter [319:0] INITVAL_13 = 0,
    parameter [319:0] INITVAL_14 = 0, parameter [319:0] INITVAL_15 = 0, parameter [319:0] INITVAL_16 = 0, parameter [319:0] INITVAL_17 = 0,
    parameter [319:0] INITVAL_18 = 0, parameter [319:0] INITVAL_19 = 0, parameter [319:0] INITVAL_1A = 0, parameter [319:0] INITVAL_1B = 0,
    parameter [319:0] INITVAL_1C = 0, parameter [319:0] INITVAL_1D = 0, parameter [319:0] INITVAL_1E = 0, parameter [319:0] INITVAL_1F = 0,
    parameter [319:0] INITVAL_20 = 0, parameter [319:0] INITVAL_21 = 0, parameter [319:0] INITVAL_22 = 0, parameter [319:0] INITVAL_23 = 0,
    parameter [319:0] INITVAL_24 = 0, parameter [319:0] INITVAL_25 = 0, parameter [319:0] INITVAL_26 = 0, parameter [319:0] INITVAL_27 = 0,
    parameter [319:0] INITVAL_28 = 0, parameter [319:0] INITVAL_29 = 0, parameter [319:0] INITVAL_2A = 0, parameter [319:0] INITVAL_2B = 0,
    parameter [319:0] INITVAL_2C = 0, parameter [319:0] INITVAL_2D = 0, parameter [319:0] INITVAL_2E = 0, parameter [319:0] INITVAL_2F = 0,
    parameter [319:0] INITVAL_30 = 0, parameter [319:0] INITVAL_31 = 0, parameter [319:0] INITVAL_32 = 0, parameter [319:0] INITVAL_33 = 0,
    parameter [319:0] INITVAL_34 = 0, parameter [319:0] INITVAL_35 = 0, parameter [319:0] INITVAL_36 = 0, parameter [319:0] INITVAL_37 = 0,
    parameter [319:0] INITVAL_38 = 0, parameter [319:0] INITVAL_39 = 0, parameter [319:0] INITVAL_3A = 0, parameter [319:0] INITVAL_3B = 0,
    parameter [319:0] INITVAL_3C = 0, parameter [319:0] INITVAL_3D = 0, parameter [319:0] INITVAL_3E = 0, parameter [319:0] INITVAL_3F = 0
) (
    input CLKA, WEA, CEA, OCEA, RSTA, CSA0, CSA1, CSA2, CLKB, WEB, CEB, OCEB, RSTB, CSB0, CSB1, CSB2,
    input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
    input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
    input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16, DIA17,
    input DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13, DIB14, DIB15, DIB16, DIB17,
    output DOA0, DOA1, DOA2, DOA3, DOA4, DOA5, DOA6, DOA7, DOA8, DOA9, DOA10, DOA11, DOA12, DOA13, DOA14, DOA15, DOA16, DOA17,
    output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15, DOB16, DOB17
);
  wire [13:0] ad_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] ad_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [17:0] di_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] di_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  reg [17:0] do_a, do_b, mem[0:1023];
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = do_a;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = do_b;
  integer i;
  initial begin
    for (i = 0; i < 16; i = i + 1) mem[0 + i] = INITVAL_00[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[16 + i] = INITVAL_01[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[32 + i] = INITVAL_02[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[48 + i] = INITVAL_03[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[64 + i] = INITVAL_04[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[80 + i] = INITVAL_05[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[96 + i] = INITVAL_06[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[112 + i] = INITVAL_07[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[128 + i] = INITVAL_08[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[144 + i] = INITVAL_09[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[160 + i] = INITVAL_0A[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[176 + i] = INITVAL_0B[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[192 + i] = INITVAL_0C[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[208 + i] = INITVAL_0D[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[224 + i] = INITVAL_0E[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[240 + i] = INITVAL_0F[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[256 + i] = INITVAL_10[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[272 + i] = INITVAL_11[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[288 + i] = INITVAL_12[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[304 + i] = INITVAL_13[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[320 + i] = INITVAL_14[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[336 + i] = INITVAL_15[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[352 + i] = INITVAL_16[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[368 + i] = INITVAL_17[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[384 + i] = INITVAL_18[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[400 + i] = INITVAL_19[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[416 + i] = INITVAL_1A[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[432 + i] = INITVAL_1B[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[448 + i] = INITVAL_1C[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[464 + i] = INITVAL_1D[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[480 + i] = INITVAL_1E[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[496 + i] = INITVAL_1F[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[512 + i] = INITVAL_20[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[528 + i] = INITVAL_21[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[544 + i] = INITVAL_22[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[560 + i] = INITVAL_23[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[576 + i] = INITVAL_24[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[592 + i] = INITVAL_25[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[608 + i] = INITVAL_26[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[624 + i] = INITVAL_27[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[640 + i] = INITVAL_28[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[656 + i] = INITVAL_29[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[672 + i] = INITVAL_2A[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[688 + i] = INITVAL_2B[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[704 + i] = INITVAL_2C[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[720 + i] = INITVAL_2D[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[736 + i] = INITVAL_2E[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[752 + i] = INITVAL_2F[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[768 + i] = INITVAL_30[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[784 + i] = INITVAL_31[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[800 + i] = INITVAL_32[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[816 + i] = INITVAL_33[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[832 + i] = INITVAL_34[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[848 + i] = INITVAL_35[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[864 + i] = INITVAL_36[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[880 + i] = INITVAL_37[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[896 + i] = INITVAL_38[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[912 + i] = INITVAL_39[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[928 + i] = INITVAL_3A[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[944 + i] = INITVAL_3B[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[960 + i] = INITVAL_3C[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[976 + i] = INITVAL_3D[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[992 + i] = INITVAL_3E[20*i+:18];
    for (i = 0; i < 16; i = i + 1) mem[1008 + i] = INITVAL_3F[20*i+:18];
  end

  function [4:0] low_bit(input [13:0] address, input integer width);  // of a narrow word within its 18 bits
    case (width)
      1: low_bit = (address[3] ? 9 : 0) + address[2:0];
      2: low_bit = (address[3] ? 9 : 0) + {address[2:1], 1'b0};
      4: low_bit = (address[3] ? 9 : 0) + {address[2], 2'b00};
      default: low_bit = address[3] ? 9 : 0;
    endcase
  endfunction

  function [17:0] inserted(input [17:0] word, data, input [13:0] address, input integer width);
    reg [17:0] mask;
    begin
      if (width == 18) mask = {{9{address[1]}}, {9{address[0]}}};
      else mask = ((18'd1 << width) - 18'd1) << low_bit(address, width);
      inserted = (word & ~mask) | ((width == 18 ? data : data << low_bit(address, width)) & mask);
    end
  endfunction

  generate
    if (DATA_WIDTH_A == 36) begin
      always @(posedge CLKA)
        if (CEA & WEA) begin
          mem[{ad_a[13:5], 1'b0}] <= inserted(mem[{ad_a[13:5], 1'b0}], di_a, ad_a, 18);
          mem[{ad_a[13:5], 1'b1}] <= inserted(mem[{ad_a[13:5], 1'b1}], di_b, ad_a >> 2, 18);
        end
      always @(posedge CLKB)
        if (CEB)
          if (DATA_WIDTH_B == 36) begin
            do_a <= mem[{ad_b[13:5], 1'b0}];
            do_b <= mem[{ad_b[13:5], 1'b1}];
          end else do_b <= mem[ad_b[13:4]] >> (DATA_WIDTH_B == 18 ? 5'd0 : low_bit(ad_b, DATA_WIDTH_B));
    end else begin
      always @(posedge CLKA)
        if (CEA) begin
          if (WEA) mem[ad_a[13:4]] <= inserted(mem[ad_a[13:4]], di_a, ad_a, DATA_WIDTH_A);
          do_a <= mem[ad_a[13:4]] >> (DATA_WIDTH_A == 18 ? 5'd0 : low_bit(ad_a, DATA_WIDTH_A));
        end
      always @(posedge CLKB)
        if (CEB) begin
          if (WEB) mem[ad_b[13:4]] <= inserted(mem[ad_b[13:4]], di_b, ad_b, DATA_WIDTH_B);
          do_b <= mem[ad_b[13:4]] >> (DATA_WIDTH_B == 18 ? 5'd0 : low_bit(ad_b, DATA_WIDTH_B));
        end
    end
  endgenerate
endmodule
