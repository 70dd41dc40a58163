// What lies in DSP slices, with the additions and registers that a DSP48E2 has around its multiplier.
`default_nettype none

// a * b, both signed, in a register.
module fpgaflow_dsp_product #(
    parameter A_BITS = 1,
    parameter B_BITS = 1,
    parameter OUT_BITS = 1
) (
    input wire clk,
    input wire step,
    input wire signed [A_BITS-1:0] a,
    input wire signed [B_BITS-1:0] b,
    output wire [OUT_BITS-1:0] y
);
    (* use_dsp = "yes" *) reg signed [OUT_BITS-1:0] product;
    always @(posedge clk) if (step) product <= a * b;
    assign y = product;
endmodule

// (d - a) * b on a DSP slice with its pre-adder, in two registers.
module fpgaflow_dsp_difference #(
    parameter A_BITS = 1,
    parameter B_BITS = 1,
    parameter B_SIGNED = 0,
    parameter OUT_BITS = 1
) (
    input wire clk,
    input wire step,
    input wire [A_BITS-1:0] d,
    input wire [A_BITS-1:0] a,
    input wire [B_BITS-1:0] b,
    output wire [OUT_BITS-1:0] y
);
    reg signed [A_BITS-1:0] word;
    reg [B_BITS-1:0] factor;
    (* use_dsp = "yes" *) reg signed [OUT_BITS-1:0] product;
    wire signed [B_BITS:0] wide = $signed({B_SIGNED != 0 && factor[B_BITS-1], factor});
    always @(posedge clk) if (step) begin
        word <= d - a;
        factor <= b;
        product <= word * wide;
    end
    assign y = product;
endmodule

// earlier + a * b in a slice: a register behind the multiplier, one behind the sum.
module fpgaflow_dsp_cascade #(
    parameter A_BITS = 1,
    parameter B_BITS = 1,
    parameter B_SIGNED = 0
) (
    input wire clk,
    input wire step,
    input wire [A_BITS-1:0] a,
    input wire [B_BITS-1:0] b,
    input wire [47:0] earlier,
    output wire [47:0] after
);
    wire signed [A_BITS-1:0] wide_a = a;
    wire signed [B_BITS:0] wide_b = $signed({B_SIGNED != 0 && b[B_BITS-1], b});
    (* use_dsp = "yes" *) reg signed [47:0] product;
    (* use_dsp = "yes" *) reg [47:0] sum;
    assign after = sum;
    always @(posedge clk) if (step) begin
        product <= wide_a * wide_b;
        sum <= earlier + product;
    end
endmodule

`default_nettype wire
