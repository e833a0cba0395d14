// SPDX-License-Identifier: Apache-2.0
// EHXPLLL for simulations that take the clock at its input for the one that it makes: no rates, only the lock, which
// comes late.
module EHXPLLL #(
  parameter CLKI_DIV = 1, parameter CLKFB_DIV = 1, parameter CLKOP_DIV = 1, parameter CLKOS_DIV = 1,
  parameter CLKOP_CPHASE = 0, parameter CLKOP_FPHASE = 0, parameter CLKOS_CPHASE = 0, parameter CLKOS_FPHASE = 0,
  parameter CLKOP_ENABLE = "ENABLED", parameter CLKOS_ENABLE = "DISABLED", parameter FEEDBK_PATH = "CLKOP",
  parameter PLLRST_ENA = "DISABLED", parameter INTFB_WAKE = "DISABLED", parameter STDBY_ENABLE = "DISABLED",
  parameter DPHASE_SOURCE = "DISABLED", parameter OUTDIVIDER_MUXA = "DIVA", parameter OUTDIVIDER_MUXB = "DIVB",
  parameter OUTDIVIDER_MUXC = "DIVC", parameter OUTDIVIDER_MUXD = "DIVD"
) (
  input CLKI, input CLKFB, input RST, input STDBY, input PHASESEL0, input PHASESEL1, input PHASEDIR, input PHASESTEP,
  input PHASELOADREG, input PLLWAKESYNC, input ENCLKOP,
  output CLKOP, output CLKOS, output LOCK
);
  reg [9:0] age = 10'd0;
  always @(posedge CLKI) if (!LOCK) age <= age + 10'd1;
  assign LOCK = age[9];
  assign CLKOP = CLKI;
  assign CLKOS = CLKI;
endmodule
