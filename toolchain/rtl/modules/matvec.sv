// Matrix-vector product at every position: SIMD inputs times PE outputs a cycle.
`default_nettype none

// The loop of the units: which word and which weights belong together, and sums over the blocks of inputs. The words of
// a round are kept for its other outputs; a position has ROUNDS of them. An output has TERMS weights a cycle. Step 2 has
// the inputs and the weights, STAGES - 3 steps later come their dot products.
module fpgaflow_matvec_loop #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter INPUTS = 1,
    parameter OUTPUTS = 1,
    parameter SIMD = 1,
    parameter PE = 1,
    parameter ROUNDS = 1,
    parameter TERMS = 1,
    parameter IN_BITS = 1,
    parameter OUT_BITS = 1,
    parameter WEIGHT_BITS = 1,
    parameter WEIGHT_FILE = "",
    parameter WEIGHT_STYLE = "",
    parameter VECTOR_STYLE = ""
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [SIMD*IN_BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [PE*OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready,
    output wire step,
    output wire [PE*TERMS*WEIGHT_BITS-1:0] weights,
    output wire [SIMD*IN_BITS-1:0] values,
    input wire [PE*OUT_BITS-1:0] dots
);
    localparam IN_BLOCKS = INPUTS / SIMD, OUT_BLOCKS = OUTPUTS / PE, FOLDS = ROUNDS * IN_BLOCKS * OUT_BLOCKS;
    localparam I_BITS = IN_BLOCKS > 1 ? $clog2(IN_BLOCKS) : 1, F_BITS = FOLDS > 1 ? $clog2(FOLDS) : 1;
    localparam J_BITS = OUT_BLOCKS > 1 ? $clog2(OUT_BLOCKS) : 1;
    wire count, i_last, i_ends;
    wire [I_BITS-1:0] i;
    wire [J_BITS-1:0] j;
    wire [F_BITS-1:0] fold;
    wire reads = j == 0;
    assign in_ready = count && reads;
    fpgaflow_counter #(.N(IN_BLOCKS)) i_counter (
        .clk(clk), .reset(start), .count(count), .at(i), .last(i_last), .ends(i_ends));
    fpgaflow_counter #(.N(OUT_BLOCKS)) j_counter (
        .clk(clk), .reset(start), .count(i_ends), .at(j), .last(), .ends());
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(FOLDS), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(reads && !in_valid), .writes(i_last),
        .ready(out_ready), .busy(busy), .step(step), .works(count), .valid(out_valid), .inner(fold), .inner_last(),
        .outer(), .outer_last());

    wire [F_BITS-1:0] fold_1;
    fpgaflow_delay #(.BITS(F_BITS), .DEPTH(1)) fold_delay (.clk(clk), .step(step), .x(fold), .y(fold_1));
    genvar p;
    generate
        for (p = 0; p < PE; p = p + 1) begin : pe
            fpgaflow_bank #(.DEPTH(FOLDS), .WIDTH(TERMS*WEIGHT_BITS), .FILE(WEIGHT_FILE), .NUMBER(p),
                            .STYLE(WEIGHT_STYLE)) bank (
                .clk(clk), .step(step), .at(fold_1), .word(weights[p*TERMS*WEIGHT_BITS +: TERMS*WEIGHT_BITS]));
        end
        if (OUT_BLOCKS == 1) begin : once
            fpgaflow_delay #(.BITS(SIMD*IN_BITS), .DEPTH(2)) words (
                .clk(clk), .step(step), .x(in_data), .y(values));
        end else begin : again
            wire [I_BITS-1:0] i_1;
            fpgaflow_delay #(.BITS(I_BITS), .DEPTH(1)) i_delay (.clk(clk), .step(step), .x(i), .y(i_1));
            fpgaflow_ram #(.DEPTH(IN_BLOCKS), .WIDTH(SIMD*IN_BITS), .STYLE(VECTOR_STYLE)) vector (
                .clk(clk), .write(in_ready), .write_at(i), .written(in_data), .step(step), .read_at(i_1), .word(values));
        end
        if (IN_BLOCKS == 1) begin : whole
            reg [PE*OUT_BITS-1:0] sums;
            always @(posedge clk) if (step) sums <= dots;
            assign out_data = sums;
        end else begin : parts
            wire adds, begins;
            reg [PE*OUT_BITS-1:0] sums;
            fpgaflow_delay #(.BITS(2), .DEPTH(STAGES-1)) flags (
                .clk(clk), .step(step), .x({count, i == 0}), .y({adds, begins}));
            integer n;
            always @(posedge clk) if (step && adds)
                for (n = 0; n < PE; n = n + 1)
                    sums[n*OUT_BITS +: OUT_BITS] <=
                        (begins ? {OUT_BITS{1'b0}} : sums[n*OUT_BITS +: OUT_BITS]) + dots[n*OUT_BITS +: OUT_BITS];
            assign out_data = sums;
        end
    endgenerate
endmodule

// Products of all channels, or by group: TOGETHER groups at once, in ROUNDS. A word holds LANES channels of each group,
// the groups side by side, for one tap after the other. With PLANES, weights of few bits: see fpgaflow_narrow_dots.
module fpgaflow_matvec #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter INPUTS = 1,
    parameter OUTPUTS = 1,
    parameter SIMD = 1,
    parameter PE = 1,
    parameter ROUNDS = 1,
    parameter TOGETHER = 1,
    parameter LANES = SIMD,
    parameter PRODUCTS_PER_DSP = 0,
    parameter LANE_BITS = 1,
    parameter PLANES = -1,
    parameter SIGNS = 0,
    parameter [32*(PRODUCTS_PER_DSP > 1 ? PRODUCTS_PER_DSP : 1)-1:0] OFFSETS = 0,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter PRODUCT_BITS = 1,
    parameter PRODUCT_SIGNED = 0,
    parameter WORD_BITS = 1,
    parameter WORD_SIGNED = 0,
    parameter WIDE_BITS = 1,
    parameter WIDE_SIGNED = 0,
    parameter WEIGHT_BITS = 1,
    parameter WEIGHT_SIGNED = 0,
    parameter WEIGHT_FILE = "",
    parameter WEIGHT_STYLE = "",
    parameter VECTOR_STYLE = ""
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [SIMD*IN_BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [PE*OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam TERMS = SIMD / TOGETHER, OWN = PE / TOGETHER;  // of a group
    wire step;
    wire [PE*TERMS*WEIGHT_BITS-1:0] weights;
    wire [SIMD*IN_BITS-1:0] values;
    wire [PE*OUT_BITS-1:0] dots;
    fpgaflow_matvec_loop #(
        .STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .POSITIONS(POSITIONS), .INPUTS(INPUTS), .OUTPUTS(OUTPUTS),
        .SIMD(SIMD), .PE(PE), .ROUNDS(ROUNDS), .TERMS(TERMS), .IN_BITS(IN_BITS), .OUT_BITS(OUT_BITS),
        .WEIGHT_BITS(WEIGHT_BITS), .WEIGHT_FILE(WEIGHT_FILE), .WEIGHT_STYLE(WEIGHT_STYLE), .VECTOR_STYLE(VECTOR_STYLE)) units (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .busy(busy), .in_data(in_data), .in_valid(in_valid),
        .in_ready(in_ready), .out_data(out_data), .out_valid(out_valid), .out_ready(out_ready), .step(step),
        .weights(weights), .values(values), .dots(dots));
    genvar g, l;
    generate
        for (g = 0; g < TOGETHER; g = g + 1) begin : group
            wire [TERMS*IN_BITS-1:0] own;
            wire [OWN*TERMS*WEIGHT_BITS-1:0] own_weights = weights[g*OWN*TERMS*WEIGHT_BITS +: OWN*TERMS*WEIGHT_BITS];
            for (l = 0; l < TERMS; l = l + 1) begin : term
                assign own[l*IN_BITS +: IN_BITS] =
                    values[((l/LANES*TOGETHER+g)*LANES+l%LANES)*IN_BITS +: IN_BITS];
            end
            if (PLANES >= 0) begin : narrow_products
                fpgaflow_narrow_dots #(
                    .SIMD(TERMS), .PE(OWN), .PLANES(PLANES), .SIGNS(SIGNS), .IN_BITS(IN_BITS), .IN_SIGNED(IN_SIGNED),
                    .WEIGHT_BITS(WEIGHT_BITS), .WEIGHT_SIGNED(WEIGHT_SIGNED), .OUT_BITS(OUT_BITS)) products (
                    .clk(clk), .step(step), .weights(own_weights), .values(own),
                    .dots(dots[g*OWN*OUT_BITS +: OWN*OUT_BITS]));
            end else if (PRODUCTS_PER_DSP > 1) begin : packed_products
                fpgaflow_packed_dots #(
                    .SIMD(TERMS), .PE(OWN), .COUNT(PRODUCTS_PER_DSP), .OFFSETS(OFFSETS), .LANE_BITS(LANE_BITS),
                    .IN_BITS(IN_BITS), .IN_SIGNED(IN_SIGNED), .WEIGHT_BITS(WEIGHT_BITS), .WEIGHT_SIGNED(WEIGHT_SIGNED),
                    .WORD_BITS(WORD_BITS), .WIDE_BITS(WIDE_BITS), .OUT_BITS(OUT_BITS)) products (
                    .clk(clk), .step(step), .weights(own_weights), .values(own),
                    .dots(dots[g*OWN*OUT_BITS +: OWN*OUT_BITS]));
            end else begin : single_products
                fpgaflow_dots #(
                    .SIMD(TERMS), .PE(OWN), .DSP(PRODUCTS_PER_DSP), .IN_BITS(IN_BITS), .IN_SIGNED(IN_SIGNED),
                    .WEIGHT_BITS(WEIGHT_BITS), .WEIGHT_SIGNED(WEIGHT_SIGNED), .PRODUCT_BITS(PRODUCT_BITS),
                    .PRODUCT_SIGNED(PRODUCT_SIGNED), .OUT_BITS(OUT_BITS)) products (
                    .clk(clk), .step(step), .weights(own_weights), .values(own),
                    .dots(dots[g*OWN*OUT_BITS +: OWN*OUT_BITS]));
            end
        end
    endgenerate
endmodule

`default_nettype wire
