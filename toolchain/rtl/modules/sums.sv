// Sums in a pipeline: a register behind every second addition, hence ceil(log2(COUNT) / 2) steps.
`default_nettype none

// The sum of COUNT numbers of BITS bits, modulo 2**OUT_BITS.
module fpgaflow_sum #(
    parameter COUNT = 1,
    parameter BITS = 1,
    parameter SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter LEVEL = 0
) (
    input wire clk,
    input wire step,
    input wire [COUNT*BITS-1:0] x,
    output wire [OUT_BITS-1:0] y
);
    localparam S = SIGNED != 0;
    genvar i;
    generate
        if (COUNT == 1) begin : one
            wire signed [OUT_BITS:0] wide = $signed({S && x[BITS-1], x});
            assign y = wide[OUT_BITS-1:0];
        end else begin : level
            localparam NEXT = (COUNT + 1) / 2;
            localparam WIDE = BITS < OUT_BITS ? BITS + 1 : OUT_BITS;
            wire [NEXT*WIDE-1:0] sums, kept;
            for (i = 0; i < NEXT; i = i + 1) begin : pair
                wire signed [WIDE:0] a = $signed({S && x[(2*i+1)*BITS-1], x[2*i*BITS +: BITS]});
                if (2 * i + 1 < COUNT) begin : both
                    wire signed [WIDE:0] b = $signed({S && x[(2*i+2)*BITS-1], x[(2*i+1)*BITS +: BITS]});
                    assign sums[i*WIDE +: WIDE] = a[WIDE-1:0] + b[WIDE-1:0];
                end else begin : single
                    assign sums[i*WIDE +: WIDE] = a[WIDE-1:0];
                end
            end
            fpgaflow_delay #(.BITS(NEXT*WIDE), .DEPTH(LEVEL % 2 == 1 || NEXT == 1)) register (
                .clk(clk), .step(step), .x(sums), .y(kept));
            fpgaflow_sum #(.COUNT(NEXT), .BITS(WIDE), .SIGNED(SIGNED), .OUT_BITS(OUT_BITS), .LEVEL(LEVEL + 1)) rest (
                .clk(clk), .step(step), .x(kept), .y(y));
        end
    endgenerate
endmodule

// How many of COUNT bits are set: sixes by LUTs, a register, then their sum.
module fpgaflow_ones #(
    parameter COUNT = 1,
    parameter OUT_BITS = $clog2(COUNT + 1)
) (
    input wire clk,
    input wire step,
    input wire [COUNT-1:0] x,
    output wire [OUT_BITS-1:0] y
);
    localparam SIXES = (COUNT + 5) / 6;
    wire [SIXES*6-1:0] filled;
    reg [SIXES*3-1:0] counts;
    wire [SIXES*3-1:0] found;
    genvar i;
    generate
        assign filled[COUNT-1:0] = x;
        if (SIXES * 6 > COUNT) begin : rest
            assign filled[SIXES*6-1:COUNT] = 0;
        end
        for (i = 0; i < SIXES; i = i + 1) begin : six
            wire [5:0] b = filled[i*6 +: 6];
            // a full adder of each half, and the sums of both
            wire a0 = b[0] ^ b[1] ^ b[2], a1 = (b[0] & b[1]) | (b[2] & (b[0] | b[1]));
            wire c0 = b[3] ^ b[4] ^ b[5], c1 = (b[3] & b[4]) | (b[5] & (b[3] | b[4]));
            wire carry = a0 & c0;
            assign found[i*3 +: 3] = {(a1 & c1) | (carry & (a1 | c1)), a1 ^ c1 ^ carry, a0 ^ c0};
        end
    endgenerate
    always @(posedge clk) if (step) counts <= found;
    fpgaflow_sum #(.COUNT(SIXES), .BITS(3), .OUT_BITS(OUT_BITS)) total (.clk(clk), .step(step), .x(counts), .y(y));
endmodule

// The largest of COUNT numbers of BITS bits, in as many steps as their sum.
module fpgaflow_largest #(
    parameter COUNT = 1,
    parameter BITS = 1,
    parameter SIGNED = 0,
    parameter LEVEL = 0
) (
    input wire clk,
    input wire step,
    input wire [COUNT*BITS-1:0] x,
    output wire [BITS-1:0] y
);
    localparam S = SIGNED != 0;
    genvar i;
    generate
        if (COUNT == 1) begin : one
            assign y = x;
        end else begin : level
            localparam NEXT = (COUNT + 1) / 2;
            wire [NEXT*BITS-1:0] larger, kept;
            for (i = 0; i < NEXT; i = i + 1) begin : pair
                if (2 * i + 1 < COUNT) begin : both
                    wire signed [BITS:0] a = $signed({S && x[(2*i+1)*BITS-1], x[2*i*BITS +: BITS]});
                    wire signed [BITS:0] b = $signed({S && x[(2*i+2)*BITS-1], x[(2*i+1)*BITS +: BITS]});
                    assign larger[i*BITS +: BITS] = a > b ? a[BITS-1:0] : b[BITS-1:0];
                end else begin : single
                    assign larger[i*BITS +: BITS] = x[2*i*BITS +: BITS];
                end
            end
            fpgaflow_delay #(.BITS(NEXT*BITS), .DEPTH(LEVEL % 2 == 1 || NEXT == 1)) register (
                .clk(clk), .step(step), .x(larger), .y(kept));
            fpgaflow_largest #(.COUNT(NEXT), .BITS(BITS), .SIGNED(SIGNED), .LEVEL(LEVEL + 1)) rest (
                .clk(clk), .step(step), .x(kept), .y(y));
        end
    endgenerate
endmodule

`default_nettype wire
