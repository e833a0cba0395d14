// SPDX-License-Identifier: Apache-2.0
// Models of the ECP5 cells that a synthesised core consists of, for simulating netlists in Verilator: our own, since
// Yosys has none for MULT18X18D and DP16KD. tests/test_ecp5_cells.py holds them against the portable descriptions.
//
// A parameter value that is not modelled asks for a module that there is not, which every tool refuses; pins that ask
// for what is not modelled stop the simulation. Where a real cell's output is undefined, the model's is wrong on
// purpose, so that nothing can rely on it.

module LUT4 #(parameter [15:0] INIT = 0) (input A, B, C, D, output Z);
  assign Z = INIT[{D, C, B, A}];
endmodule

module PFUMX (input ALUT, BLUT, C0, output Z);
  assign Z = C0 ? ALUT : BLUT;
endmodule

module L6MUX21 (input D0, D1, SD, output Z);
  assign Z = SD ? D1 : D0;
endmodule

// Two bits of a carry chain. Each half: the LUT of four inputs propagates the carry, the one of two generates it.
module CCU2C #(
    parameter [15:0] INIT0 = 0, parameter [15:0] INIT1 = 0, parameter INJECT1_0 = "NO", parameter INJECT1_1 = "NO"
) (input CIN, A0, B0, C0, D0, A1, B1, C1, D1, output S0, S1, COUT);
  generate
    if (INJECT1_0 != "NO" || INJECT1_1 != "NO") not_modelled_inject1 stop ();
  endgenerate
  wire propagate0 = INIT0[{D0, C0, B0, A0}], generate0 = INIT0[{2'b00, B0, A0}];
  wire propagate1 = INIT1[{D1, C1, B1, A1}], generate1 = INIT1[{2'b00, B1, A1}];
  wire carry = propagate0 ? CIN : generate0;
  assign S0 = propagate0 ^ CIN;
  assign S1 = propagate1 ^ carry;
  assign COUT = propagate1 ? carry : generate1;
endmodule

module TRELLIS_FF #(
    parameter GSR = "", parameter CEMUX = "1", parameter CLKMUX = "CLK", parameter LSRMUX = "LSR",
    parameter SRMODE = "LSR_OVER_CE", parameter REGSET = "RESET", parameter LSRMODE = "LSR"
) (input CLK, LSR, CE, DI, M, output reg Q);
  generate
    if (CEMUX != "1" && CEMUX != "CE" && CEMUX != "INV") not_modelled_cemux stop ();
    if (CLKMUX != "CLK" && CLKMUX != "INV") not_modelled_clkmux stop ();
    if (LSRMUX != "LSR" && LSRMUX != "INV") not_modelled_lsrmux stop ();
    if (SRMODE != "LSR_OVER_CE" && SRMODE != "ASYNC") not_modelled_srmode stop ();
    if (REGSET != "RESET" && REGSET != "SET") not_modelled_regset stop ();
    if (LSRMODE != "LSR") not_modelled_lsrmode stop ();
  endgenerate
  wire clock = CLKMUX == "INV" ? ~CLK : CLK;
  wire enable = CEMUX == "1" ? 1'b1 : CEMUX == "INV" ? ~CE : CE;
  wire set = LSRMUX == "INV" ? ~LSR : LSR;
  initial Q = REGSET == "SET";
  generate
    if (SRMODE == "ASYNC") begin
      always @(posedge clock or posedge set)
        if (set) Q <= REGSET == "SET";
        else if (enable) Q <= DI;
    end else begin
      always @(posedge clock)
        if (set) Q <= REGSET == "SET";
        else if (enable) Q <= DI;
    end
  endgenerate
endmodule

module TRELLIS_DPR16X4 #(parameter WCKMUX = "WCK", parameter WREMUX = "WRE", parameter [63:0] INITVAL = 0) (
    input [3:0] DI, WAD, RAD, input WRE, WCK, output [3:0] DO
);
  generate
    if (WCKMUX != "WCK" && WCKMUX != "INV") not_modelled_wckmux stop ();
    if (WREMUX != "WRE" && WREMUX != "INV") not_modelled_wremux stop ();
  endgenerate
  wire clock = WCKMUX == "INV" ? ~WCK : WCK;
  reg [3:0] mem[0:15];
  integer i;
  initial for (i = 0; i < 16; i = i + 1) mem[i] = INITVAL[4*i+:4];
  always @(posedge clock) if (WREMUX == "INV" ? ~WRE : WRE) mem[WAD] <= DI;
  assign DO = mem[RAD];
endmodule

// p = a * b, with registers on the inputs, in the middle and on the output wherever REG_x_CLK is CLK0.
module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE", parameter REG_INPUTA_CE = "CE0", parameter REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE", parameter REG_INPUTB_CE = "CE0", parameter REG_INPUTB_RST = "RST0",
    parameter REG_INPUTC_CLK = "NONE",
    parameter REG_PIPELINE_CLK = "NONE", parameter REG_PIPELINE_CE = "CE0", parameter REG_PIPELINE_RST = "RST0",
    parameter REG_OUTPUT_CLK = "NONE", parameter REG_OUTPUT_CE = "CE0", parameter REG_OUTPUT_RST = "RST0",
    parameter CLK0_DIV = "ENABLED", parameter GSR = "", parameter SOURCEB_MODE = "B_SHIFT",
    parameter MULT_BYPASS = "DISABLED", parameter RESETMODE = "SYNC"
) (
    input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
    input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
    output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17, P18, P19, P20, P21, P22,
      P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
  generate
    if (REG_INPUTA_CLK != "NONE" && REG_INPUTA_CLK != "CLK0") not_modelled_reg_inputa_clk stop ();
    if (REG_INPUTB_CLK != "NONE" && REG_INPUTB_CLK != "CLK0") not_modelled_reg_inputb_clk stop ();
    if (REG_INPUTC_CLK != "NONE") not_modelled_reg_inputc_clk stop ();
    if (REG_PIPELINE_CLK != "NONE" && REG_PIPELINE_CLK != "CLK0") not_modelled_reg_pipeline_clk stop ();
    if (REG_OUTPUT_CLK != "NONE" && REG_OUTPUT_CLK != "CLK0") not_modelled_reg_output_clk stop ();
    if (REG_INPUTA_CE != "CE0" || REG_INPUTB_CE != "CE0" || REG_PIPELINE_CE != "CE0" ||
        REG_OUTPUT_CE != "CE0") not_modelled_clock_enable stop ();
    if (REG_INPUTA_RST != "RST0" || REG_INPUTB_RST != "RST0" || REG_PIPELINE_RST != "RST0" ||
        REG_OUTPUT_RST != "RST0") not_modelled_reset stop ();
    if (CLK0_DIV != "ENABLED") not_modelled_clk0_div stop ();
    if (SOURCEB_MODE != "B_SHIFT") not_modelled_sourceb_mode stop ();
    if (MULT_BYPASS != "DISABLED") not_modelled_mult_bypass stop ();
    if (RESETMODE != "SYNC") not_modelled_resetmode stop ();
  endgenerate
  wire signed [18:0] a_in = {SIGNEDA & A17, {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2,
    A1, A0}};
  wire signed [18:0] b_in = {SIGNEDB & B17, {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2,
    B1, B0}};
  wire signed [18:0] a, b;
  wire signed [35:0] product = a * b, middle, p;
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
    P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p;
  generate
    if (REG_INPUTA_CLK == "CLK0") begin
      reg signed [18:0] register = 0;
      always @(posedge CLK0) if (CE0) register <= RST0 ? 19'd0 : a_in;
      assign a = register;
    end else assign a = a_in;
    if (REG_INPUTB_CLK == "CLK0") begin
      reg signed [18:0] register = 0;
      always @(posedge CLK0) if (CE0) register <= RST0 ? 19'd0 : b_in;
      assign b = register;
    end else assign b = b_in;
    if (REG_PIPELINE_CLK == "CLK0") begin
      reg signed [35:0] register = 0;
      always @(posedge CLK0) if (CE0) register <= RST0 ? 36'd0 : product;
      assign middle = register;
    end else assign middle = product;
    if (REG_OUTPUT_CLK == "CLK0") begin
      reg signed [35:0] register = 0;
      always @(posedge CLK0) if (CE0) register <= RST0 ? 36'd0 : middle;
      assign p = register;
    end else assign p = middle;
  endgenerate
  always @(SOURCEA or SOURCEB)
    if (SOURCEA | SOURCEB) $fatal(1, "MULT18X18D: operands shifted in from a neighbour are not modelled");
endmodule

// 512 words of 36 bits, to each port words of DATA_WIDTH_x bits: narrower ones lie in it one above the other, those of
// 1, 2 and 4 bits without the ninth bit of each byte. The lowest address pins of a port of 18 or 36 bits enable bytes.
// If A has 36 bits it only writes and B only reads, and such words go in, and if B has 36 bits too come out, by the
// pins of A and above them those of B; they follow B's clock, enables and reset, but each half its own REGMODE_x.
// Both ports have one clock. What is undefined in a real cell comes out inverted: a bit that one port reads or writes
// while the other writes it, and the pins of A in a registered word of 36 bits without OCEA = 1, which PDPW16KD has.
module DP16KD #(
    parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18, parameter REGMODE_A = "NOREG", parameter REGMODE_B =
      "NOREG",
    parameter RESETMODE = "SYNC", parameter ASYNC_RESET_RELEASE = "SYNC", parameter CSDECODE_A = "0b000",
    parameter CSDECODE_B = "0b000", parameter CLKAMUX = "CLKA", parameter CLKBMUX = "CLKB", parameter GSR = "",
    parameter WRITEMODE_A = "NORMAL", parameter WRITEMODE_B = "NORMAL",
    parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0,
    parameter [319:0] INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0,
    parameter [319:0] INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0,
    parameter [319:0] INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0,
    parameter [319:0] INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0,
    parameter [319:0] INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0,
    parameter [319:0] INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0,
    parameter [319:0] INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0,
    parameter [319:0] INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0,
    parameter [319:0] INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0,
    parameter [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0,
    parameter [319:0] INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0,
    parameter [319:0] INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0,
    parameter [319:0] INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0,
    parameter [319:0] INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0,
    parameter [319:0] INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0
) (
    input CLKA, WEA, CEA, OCEA, RSTA, CSA0, CSA1, CSA2, CLKB, WEB, CEB, OCEB, RSTB, CSB0, CSB1, CSB2,
    input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
    input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
    input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16,
      DIA17,
    input DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13, DIB14, DIB15, DIB16,
      DIB17,
    output DOA0, DOA1, DOA2, DOA3, DOA4, DOA5, DOA6, DOA7, DOA8, DOA9, DOA10, DOA11, DOA12, DOA13, DOA14, DOA15,
      DOA16, DOA17,
    output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15,
      DOB16, DOB17
);
  localparam integer A = DATA_WIDTH_A, B = DATA_WIDTH_B;
  localparam PAIR = A == 36, WIDE = B == 36;
  generate
    if (A != 1 && A != 2 && A != 4 && A != 9 && A != 18 && A != 36) not_modelled_data_width_a stop ();
    if (B != 1 && B != 2 && B != 4 && B != 9 && B != 18 && B != 36) not_modelled_data_width_b stop ();
    if (WIDE && !PAIR) not_modelled_width_36_on_port_b_alone stop ();
    if (REGMODE_A != "NOREG" && REGMODE_A != "OUTREG") not_modelled_regmode_a stop ();
    if (REGMODE_B != "NOREG" && REGMODE_B != "OUTREG") not_modelled_regmode_b stop ();
    if (RESETMODE != "SYNC" && RESETMODE != "ASYNC") not_modelled_resetmode stop ();
    if (ASYNC_RESET_RELEASE != "SYNC" && ASYNC_RESET_RELEASE != "ASYNC") not_modelled_async_reset_release stop ();
    if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000") not_modelled_csdecode stop ();
    if (CLKAMUX != "CLKA" && CLKAMUX != "INV") not_modelled_clkamux stop ();
    if (CLKBMUX != "CLKB" && CLKBMUX != "INV") not_modelled_clkbmux stop ();
    if (WRITEMODE_A != "NORMAL" && WRITEMODE_A != "WRITETHROUGH" && WRITEMODE_A != "READBEFOREWRITE")
      not_modelled_writemode_a stop ();
    if (WRITEMODE_B != "NORMAL" && WRITEMODE_B != "WRITETHROUGH" && WRITEMODE_B != "READBEFOREWRITE")
      not_modelled_writemode_b stop ();
  endgenerate

  wire [13:0] ad_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] ad_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [17:0] di_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
    DIA3, DIA2, DIA1, DIA0};
  wire [17:0] di_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
    DIB3, DIB2, DIB1, DIB0};
  wire [17:0] do_a, do_b;
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
    DOA1, DOA0} = do_a;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
    DOB1, DOB0} = do_b;

  localparam [20479:0] CONTENTS = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
    INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
    INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
    INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
    INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00
  };
  reg [35:0] mem[0:511];
  integer i;
  initial for (i = 0; i < 512; i = i + 1) mem[i] = {CONTENTS[40*i+20+:18], CONTENTS[40*i+:18]};

  function [5:0] lowest(input [13:0] ad, input integer width);  // bit of a port's word
    case (width)
      1: lowest = (ad[4] ? 18 : 0) + (ad[3] ? 9 : 0) + ad[2:0];
      2: lowest = (ad[4] ? 18 : 0) + (ad[3] ? 9 : 0) + {ad[2:1], 1'b0};
      4: lowest = (ad[4] ? 18 : 0) + (ad[3] ? 9 : 0) + {ad[2], 2'b00};
      9: lowest = (ad[4] ? 18 : 0) + (ad[3] ? 9 : 0);
      18: lowest = ad[4] ? 18 : 0;
      default: lowest = 0;
    endcase
  endfunction

  function [35:0] bytes(input [13:0] ad, input integer width);  // that a write replaces, before they are moved up
    case (width)
      36: bytes = {{9{ad[3]}}, {9{ad[2]}}, {9{ad[1]}}, {9{ad[0]}}};
      18: bytes = {18'd0, {9{ad[1]}}, {9{ad[0]}}};
      default: bytes = (36'd1 << width) - 36'd1;
    endcase
  endfunction

  wire clk_a = CLKAMUX == "INV" ? ~CLKA : CLKA;
  wire clk_b = CLKBMUX == "INV" ? ~CLKB : CLKB;
  wire select_a = CEA & ~(CSA0 | CSA1 | CSA2), select_b = CEB & ~(CSB0 | CSB1 | CSB2);
  wire write_a = select_a & WEA & ~(RESETMODE == "SYNC" & RSTA);
  wire write_b = select_b & WEB & ~(RESETMODE == "SYNC" & RSTB);
  wire [5:0] low_a = lowest(ad_a, A), low_b = lowest(ad_b, B);
  wire [35:0] mask_a = write_a ? bytes(ad_a, A) << low_a : 36'd0, mask_b = write_b ? bytes(ad_b, B) << low_b : 36'd0;
  wire [35:0] data_a = {PAIR ? di_b : 18'd0, di_a} << low_a, data_b = {18'd0, di_b} << low_b;
  wire meet = ad_a[13:5] == ad_b[13:5];
  wire [35:0] other_a = meet ? mask_b : 36'd0, other_b = meet ? mask_a : 36'd0;  // written by the other port
  wire [35:0] word_a = mem[ad_a[13:5]], word_b = mem[ad_b[13:5]];
  wire [35:0] after_a = (word_a & ~mask_a) | (data_a & mask_a), after_b = (word_b & ~mask_b) | (data_b & mask_b);

  // Bits that both write come out inverted; others of one word, as each wants them.
  wire [35:0] both = (mask_a & ~word_a) | (~mask_a & data_b), too = (mask_b & ~word_b) | (~mask_b & data_a);
  always @(posedge clk_a) if (write_a) mem[ad_a[13:5]] <= (after_a & ~other_a) | (both & other_a);
  always @(posedge clk_b) if (write_b) mem[ad_b[13:5]] <= (after_b & ~other_b) | (too & other_b);

  wire read_a = select_a & (~WEA | WRITEMODE_A != "NORMAL"), read_b = select_b & (~WEB | WRITEMODE_B != "NORMAL");
  wire [35:0] seen_a = ((WRITEMODE_A == "WRITETHROUGH" ? after_a : word_a) ^ other_a) >> low_a;
  wire [35:0] seen_b = ((WRITEMODE_B == "WRITETHROUGH" ? after_b : word_b) ^ other_b) >> low_b;
  wire [17:0] high_b = WIDE ? seen_b[35:18] : seen_b[17:0];  // for the pins of B
  dp16kd_output #(.REGMODE(REGMODE_B), .RESETMODE(RESETMODE)) out_b (
      .clk(clk_b), .read(read_b), .oce(OCEB), .rst(RSTB), .d(high_b), .q(do_b)
  );
  generate
    if (WIDE) begin
      wire [17:0] low;
      dp16kd_output #(.REGMODE(REGMODE_A), .RESETMODE(RESETMODE)) out_a (
          .clk(clk_b), .read(read_b), .oce(OCEB), .rst(RSTB), .d(seen_b[17:0]), .q(low)
      );
      assign do_a = REGMODE_A == "OUTREG" && !OCEA ? ~low : low;
    end else if (PAIR) assign do_a = 18'd0;
    else
      dp16kd_output #(.REGMODE(REGMODE_A), .RESETMODE(RESETMODE)) out_a (
          .clk(clk_a), .read(read_a), .oce(OCEA), .rst(RSTA), .d(seen_a[17:0]), .q(do_a)
      );
  endgenerate

  always @(posedge clk_a) if (write_b & ~clk_b) $fatal(1, "DP16KD: two clocks are not modelled");
  always @(posedge clk_b) begin
    if (write_a & ~clk_a) $fatal(1, "DP16KD: two clocks are not modelled");
    if (PAIR & WEB & select_b) $fatal(1, "DP16KD: writes on port B beside 36 bits on port A are not modelled");
  end
endmodule

// What one port of a DP16KD has behind its array: a latch, which a reset clears whether it reads or not, and with
// REGMODE = OUTREG a register that follows it one cycle later. OCE enables that register, a synchronous reset included.
module dp16kd_output #(parameter REGMODE = "NOREG", parameter RESETMODE = "SYNC") (
    input clk, read, oce, rst, input [17:0] d, output [17:0] q
);
  reg [17:0] latch = 0;
  generate
    if (RESETMODE == "ASYNC") begin
      always @(posedge clk or posedge rst)
        if (rst) latch <= 0;
        else if (read) latch <= d;
    end else begin
      always @(posedge clk)
        if (rst) latch <= 0;
        else if (read) latch <= d;
    end
    if (REGMODE == "NOREG") assign q = latch;
    else begin
      reg [17:0] register = 0;
      assign q = register;
      if (RESETMODE == "ASYNC") begin
        always @(posedge clk or posedge rst)
          if (rst) register <= 0;
          else if (oce) register <= latch;
      end else begin
        always @(posedge clk) if (oce) register <= rst ? 18'd0 : latch;
      end
    end
  endgenerate
endmodule
