// Matrix products of two streams, by head: see matmul.hpp.
`default_nettype none

// Stores a frame of the second stream, a factor a memory, then runs the first one past it: SIMD inputs times PE outputs a
// cycle. A word of the second one has SIMD inputs of one output, or with COLUMNS SIMD outputs of one input.
module fpgaflow_matmul #(
    parameter STAGES = 4,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter HEADS = 1,
    parameter INPUTS = 1,
    parameter OUTPUTS = 1,
    parameter SIMD = 1,
    parameter PE = 1,
    parameter COLUMNS = 0,
    parameter PRODUCTS_PER_DSP = 0,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter WEIGHT_BITS = 1,
    parameter WEIGHT_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter PRODUCT_BITS = 1,
    parameter PRODUCT_SIGNED = 0,
    parameter STORED_STYLE = "",
    parameter VECTOR_STYLE = ""
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [SIMD*(IN_BITS+WEIGHT_BITS)-1:0] in_data,
    input wire [1:0] in_valid,
    output wire [1:0] in_ready,
    output wire [PE*OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam IN_BLOCKS = INPUTS / SIMD, OUT_BLOCKS = OUTPUTS / PE, FOLDS = HEADS * OUT_BLOCKS * IN_BLOCKS;
    localparam I_BITS = IN_BLOCKS > 1 ? $clog2(IN_BLOCKS) : 1, J_BITS = OUT_BLOCKS > 1 ? $clog2(OUT_BLOCKS) : 1;
    localparam F_BITS = FOLDS > 1 ? $clog2(FOLDS) : 1;
    reg storing;
    wire step, count, i_last, i_ends, fold_last, fold_ends, last, stored_last;
    wire [I_BITS-1:0] i;
    wire [J_BITS-1:0] j;
    wire [F_BITS-1:0] fold, fold_1, place;
    wire [PE*SIMD-1:0] store;  // the memories that are written
    wire runs = count && !storing, reads = j == 0;
    wire [SIMD*IN_BITS-1:0] word = in_data[SIMD*IN_BITS-1:0];
    wire [SIMD*WEIGHT_BITS-1:0] factors = in_data[SIMD*IN_BITS +: SIMD*WEIGHT_BITS];
    assign in_ready = {count && storing, runs && reads};
    fpgaflow_counter #(.N(IN_BLOCKS)) i_counter (
        .clk(clk), .reset(start), .count(runs), .at(i), .last(i_last), .ends(i_ends));
    fpgaflow_counter #(.N(OUT_BLOCKS)) j_counter (
        .clk(clk), .reset(start), .count(i_ends), .at(j), .last(), .ends());
    fpgaflow_counter #(.N(FOLDS)) fold_counter (
        .clk(clk), .reset(start), .count(runs), .at(fold), .last(fold_last), .ends(fold_ends));
    fpgaflow_counter #(.N(POSITIONS)) position (
        .clk(clk), .reset(start), .count(fold_ends), .at(), .last(last), .ends());
    fpgaflow_matmul_place #(
        .HEADS(HEADS), .IN_BLOCKS(IN_BLOCKS), .OUT_BLOCKS(OUT_BLOCKS), .SIMD(SIMD), .PE(PE), .COLUMNS(COLUMNS)) places (
        .clk(clk), .reset(start), .count(in_ready[1]), .fold(place), .store(store), .ends(stored_last));
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames),
        .missing(storing ? !in_valid[1] : reads && !in_valid[0]), .writes(!storing && i_last),
        .ends(!storing && fold_last && last), .ready(out_ready), .busy(busy), .step(step),
        .works(count), .valid(out_valid));
    always @(posedge clk) begin
        if (start) storing <= 1'b1;
        else if (stored_last) storing <= 1'b0;
        else if (fold_ends && last) storing <= 1'b1;
    end

    wire [SIMD*IN_BITS-1:0] values;
    wire [PE*SIMD*WEIGHT_BITS-1:0] weights;
    wire [PE*OUT_BITS-1:0] dots;
    fpgaflow_delay #(.BITS(F_BITS), .DEPTH(1)) fold_delay (.clk(clk), .step(step), .x(fold), .y(fold_1));
    genvar p, l;
    generate
        for (p = 0; p < PE; p = p + 1) begin : pe
            for (l = 0; l < SIMD; l = l + 1) begin : simd
                localparam LANE = COLUMNS != 0 ? p % SIMD : l;  // of the word that brings it
                fpgaflow_ram #(.DEPTH(FOLDS), .WIDTH(WEIGHT_BITS), .STYLE(STORED_STYLE)) stored (
                    .clk(clk), .write(store[p*SIMD+l]), .write_at(place),
                    .written(factors[LANE*WEIGHT_BITS +: WEIGHT_BITS]), .step(step), .read_at(fold_1),
                    .word(weights[(p*SIMD+l)*WEIGHT_BITS +: WEIGHT_BITS]));
            end
        end
        if (OUT_BLOCKS == 1) begin : once
            fpgaflow_delay #(.BITS(SIMD*IN_BITS), .DEPTH(2)) words (.clk(clk), .step(step), .x(word), .y(values));
        end else begin : again
            wire [I_BITS-1:0] i_1;
            fpgaflow_delay #(.BITS(I_BITS), .DEPTH(1)) i_delay (.clk(clk), .step(step), .x(i), .y(i_1));
            fpgaflow_ram #(.DEPTH(IN_BLOCKS), .WIDTH(SIMD*IN_BITS), .STYLE(VECTOR_STYLE)) vector (
                .clk(clk), .write(in_ready[0]), .write_at(i), .written(word), .step(step), .read_at(i_1), .word(values));
        end
    endgenerate
    fpgaflow_dots #(
        .SIMD(SIMD), .PE(PE), .DSP(PRODUCTS_PER_DSP), .IN_BITS(IN_BITS), .IN_SIGNED(IN_SIGNED),
        .WEIGHT_BITS(WEIGHT_BITS), .WEIGHT_SIGNED(WEIGHT_SIGNED), .PRODUCT_BITS(PRODUCT_BITS),
        .PRODUCT_SIGNED(PRODUCT_SIGNED), .OUT_BITS(OUT_BITS)) products (
        .clk(clk), .step(step), .weights(weights), .values(values), .dots(dots));
    wire adds, begins;
    reg [PE*OUT_BITS-1:0] sums;
    integer n;
    assign out_data = sums;
    fpgaflow_delay #(.BITS(2), .DEPTH(STAGES-1)) flags (.clk(clk), .step(step), .x({runs, i == 0}), .y({adds, begins}));
    always @(posedge clk) if (step && adds)
        for (n = 0; n < PE; n = n + 1)
            sums[n*OUT_BITS +: OUT_BITS] <=
                (begins ? {OUT_BITS{1'b0}} : sums[n*OUT_BITS +: OUT_BITS]) + dots[n*OUT_BITS +: OUT_BITS];
endmodule

// Where the words of the stored stream lie: the fold, which is a head, a block of outputs and one of inputs, and the
// memories of it that a word goes to.
module fpgaflow_matmul_place #(
    parameter HEADS = 1,
    parameter IN_BLOCKS = 1,
    parameter OUT_BLOCKS = 1,
    parameter SIMD = 1,
    parameter PE = 1,
    parameter COLUMNS = 0,
    parameter FOLDS = HEADS * OUT_BLOCKS * IN_BLOCKS,
    parameter BITS = FOLDS > 1 ? $clog2(FOLDS) : 1
) (
    input wire clk,
    input wire reset,
    input wire count,
    output wire [BITS-1:0] fold,
    output wire [PE*SIMD-1:0] store,
    output wire ends
);
    // the order of the counters: of a word's neighbours first
    localparam A = COLUMNS != 0 ? PE / SIMD : IN_BLOCKS, B = COLUMNS != 0 ? OUT_BLOCKS : HEADS;
    localparam C = COLUMNS != 0 ? HEADS : PE, D = COLUMNS != 0 ? SIMD : OUT_BLOCKS;
    localparam E = COLUMNS != 0 ? IN_BLOCKS : 1;
    wire [(A > 1 ? $clog2(A) : 1)-1:0] a;
    wire [(B > 1 ? $clog2(B) : 1)-1:0] b;
    wire [(C > 1 ? $clog2(C) : 1)-1:0] c;
    wire [(D > 1 ? $clog2(D) : 1)-1:0] d;
    wire [(E > 1 ? $clog2(E) : 1)-1:0] e;
    wire a_ends, b_ends, c_ends, d_ends;
    fpgaflow_counter #(.N(A)) a_counter (.clk(clk), .reset(reset), .count(count), .at(a), .last(), .ends(a_ends));
    fpgaflow_counter #(.N(B)) b_counter (.clk(clk), .reset(reset), .count(a_ends), .at(b), .last(), .ends(b_ends));
    fpgaflow_counter #(.N(C)) c_counter (.clk(clk), .reset(reset), .count(b_ends), .at(c), .last(), .ends(c_ends));
    fpgaflow_counter #(.N(D)) d_counter (.clk(clk), .reset(reset), .count(c_ends), .at(d), .last(), .ends(d_ends));
    fpgaflow_counter #(.N(E)) e_counter (.clk(clk), .reset(reset), .count(d_ends), .at(e), .last(), .ends(ends));
    genvar p, l;
    generate
        if (COLUMNS != 0) begin : columns
            assign fold = (c * OUT_BLOCKS + b) * IN_BLOCKS + e;
        end else begin : rows
            assign fold = (b * OUT_BLOCKS + d) * IN_BLOCKS + a;
        end
        for (p = 0; p < PE; p = p + 1) begin : pe
            for (l = 0; l < SIMD; l = l + 1) begin : simd
                assign store[p*SIMD+l] = count && (COLUMNS != 0 ? a == p / SIMD && d == l : c == p);
            end
        end
    endgenerate
endmodule

`default_nettype wire
