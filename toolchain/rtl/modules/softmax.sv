// The softmax of the channels of every position: see softmax.hpp.
`default_nettype none

// The words of a position and head come in, are looked up by their distance from the largest one, DIVIDE_STEPS cycles
// find the quotient of 2**(START + DIVIDE_STEPS) by the entries' sum, a bit a cycle, and the words leave. STAGES is 7 and
// twice the steps of a comparison of all lanes.
module fpgaflow_softmax #(
    parameter STAGES = 7,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter ENTRIES = 2,
    parameter DIVIDE_STEPS = 1,
    parameter START = 0,
    parameter SHIFT = 1,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter SUM_BITS = 1,
    parameter SUM_SIGNED = 0,
    parameter REST_BITS = 1,
    parameter REST_SIGNED = 0,
    parameter FACTOR_BITS = 1,
    parameter FACTOR_SIGNED = 0,
    parameter PRODUCT_BITS = 1,
    parameter PRODUCT_SIGNED = 0,
    parameter TABLE_BITS = 1,
    parameter TABLE_SIGNED = 0,
    parameter TABLE_FILE = "",
    parameter TABLE_STYLE = "",
    parameter VECTOR_STYLE = "",
    parameter KEPT_STYLE = ""
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [LANES*IN_BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [LANES*OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam WORDS = CHANNELS / LANES, LEAVES = 2 * WORDS + DIVIDE_STEPS, CYCLES = LEAVES + WORDS;
    localparam C_BITS = $clog2(CYCLES), BITS = WORDS > 1 ? $clog2(WORDS) : 1;
    localparam AT_BITS = ENTRIES > 1 ? $clog2(ENTRIES) : 1;
    localparam TREE = (STAGES - 7) / 2;  // steps of a comparison, and of a sum
    localparam FOUND = TREE + 3, SUMMED = FOUND + TREE;  // steps to the cycle of an entry, of a bit of the quotient
    wire step, count;
    wire [C_BITS-1:0] cycle;
    wire [BITS-1:0] word;
    wire reads = cycle < WORDS, finds = cycle >= WORDS && cycle < 2 * WORDS, leaves = cycle >= LEAVES;
    assign in_ready = count && reads;
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(CYCLES), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(reads && !in_valid), .writes(leaves),
        .ready(out_ready), .busy(busy), .step(step), .works(count), .valid(out_valid), .inner(cycle), .inner_last(),
        .outer(), .outer_last());
    fpgaflow_counter #(.N(WORDS)) words (
        .clk(clk), .reset(start), .count(count && (reads || finds || leaves)), .at(word), .last(), .ends());

    // The largest channel.
    wire compares, compares_first;
    wire [LANES*IN_BITS-1:0] taken;
    wire [IN_BITS-1:0] largest;
    reg [IN_BITS-1:0] most;
    wire signed [IN_BITS:0] a = $signed({IN_SIGNED != 0 && largest[IN_BITS-1], largest});
    wire signed [IN_BITS:0] b = $signed({IN_SIGNED != 0 && most[IN_BITS-1], most});
    fpgaflow_delay #(.BITS(LANES*IN_BITS), .DEPTH(1)) in_words (.clk(clk), .step(step), .x(in_data), .y(taken));
    fpgaflow_delay #(.BITS(2), .DEPTH(TREE+1)) most_flags (
        .clk(clk), .step(step), .x({in_ready, word == 0}), .y({compares, compares_first}));
    fpgaflow_largest #(.COUNT(LANES), .BITS(IN_BITS), .SIGNED(IN_SIGNED)) tree (
        .clk(clk), .step(step), .x(taken), .y(largest));
    always @(posedge clk) if (step) if (compares && (compares_first || a > b)) most <= largest;

    // The entries and their sum.
    wire [BITS-1:0] word_read, word_kept;
    wire keeps, adds, adds_first;
    wire [LANES*TABLE_BITS-1:0] entries;
    wire [SUM_BITS-1:0] part;
    reg [SUM_BITS-1:0] sum;
    fpgaflow_delay #(.BITS(BITS), .DEPTH(TREE)) read_address (.clk(clk), .step(step), .x(word), .y(word_read));
    fpgaflow_delay #(.BITS(BITS), .DEPTH(3)) kept_address (.clk(clk), .step(step), .x(word_read), .y(word_kept));
    fpgaflow_delay #(.BITS(1), .DEPTH(FOUND)) kept_flag (
        .clk(clk), .step(step), .x(count && finds), .y(keeps));
    fpgaflow_delay #(.BITS(2), .DEPTH(SUMMED)) sum_flags (
        .clk(clk), .step(step), .x({finds, word == 0}), .y({adds, adds_first}));
    fpgaflow_sum #(.COUNT(LANES), .BITS(TABLE_BITS), .OUT_BITS(SUM_BITS)) parts (
        .clk(clk), .step(step), .x(entries), .y(part));
    always @(posedge clk) if (step) if (adds) sum <= (adds_first ? {SUM_BITS{1'b0}} : sum) + part;

    // A bit of the quotient a step.
    localparam [REST_BITS-1:0] ONE = 1;
    wire opens, divides;
    reg [REST_BITS-1:0] rest;
    reg [FACTOR_BITS-1:0] factor;
    wire [REST_BITS-1:0] next = opens ? ONE << START + 1 : rest << 1;
    wire fits = next >= sum;
    fpgaflow_delay #(.BITS(2), .DEPTH(SUMMED)) quotient_flags (
        .clk(clk), .step(step), .x({cycle == 2 * WORDS, cycle >= 2 * WORDS && cycle < LEAVES}), .y({opens, divides}));
    always @(posedge clk) if (step) if (divides) begin
        rest <= fits ? next - sum : next;
        factor <= {opens ? {FACTOR_BITS{1'b0}} : factor, fits};
    end

    localparam signed [PRODUCT_BITS:0] HALF = {{PRODUCT_BITS{1'b0}}, 1'b1} << SHIFT - 1;
    genvar l;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            localparam [31:0] NUMBER = l;
            wire [IN_BITS-1:0] value;
            wire [TABLE_BITS-1:0] entry, stored, kept;
            wire signed [PRODUCT_BITS:0] product;
            reg [IN_BITS-1:0] below;
            reg signed [PRODUCT_BITS:0] wide;
            reg [OUT_BITS-1:0] result;
            fpgaflow_ram #(.DEPTH(WORDS), .WIDTH(IN_BITS), .STYLE(VECTOR_STYLE)) vector (
                .clk(clk), .write(in_ready), .write_at(word), .written(in_data[l*IN_BITS +: IN_BITS]), .step(step),
                .read_at(word_read), .word(value));
            fpgaflow_bank #(.DEPTH(ENTRIES), .WIDTH(TABLE_BITS), .FILE(TABLE_FILE), .NUMBER(NUMBER),
                            .STYLE(TABLE_STYLE)) bank (.clk(clk), .step(step), .at(below[AT_BITS-1:0]), .word(entry));
            assign entries[l*TABLE_BITS +: TABLE_BITS] = entry;
            fpgaflow_ram #(.DEPTH(WORDS), .WIDTH(TABLE_BITS), .STYLE(KEPT_STYLE)) kept_entries (
                .clk(clk), .write(keeps && step), .write_at(word_kept), .written(entry), .step(step),
                .read_at(word_kept), .word(stored));
            fpgaflow_delay #(.BITS(TABLE_BITS), .DEPTH(TREE)) waiting (
                .clk(clk), .step(step), .x(stored), .y(kept));
            fpgaflow_product #(.A_BITS(TABLE_BITS), .A_SIGNED(TABLE_SIGNED), .B_BITS(FACTOR_BITS),
                               .B_SIGNED(FACTOR_SIGNED), .OUT_BITS(PRODUCT_BITS), .OUT_SIGNED(PRODUCT_SIGNED),
                               .DSP(1)) multiplier (
                .clk(clk), .step(step), .a(kept), .b(factor), .y(product));
            always @(posedge clk) if (step) begin
                below <= most - value;
                wide <= product;
                result <= (wide + HALF) >>> SHIFT;
            end
            assign out_data[l*OUT_BITS +: OUT_BITS] = result;
        end
    endgenerate
endmodule

`default_nettype wire
