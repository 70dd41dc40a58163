// The channels of every position, less their mean if CENTRED, over their deviation: see norm.hpp.
`default_nettype none

// A position's words come in, ROOT_STEPS cycles find the root of W = 2**FRACTION * (V + WHOLE) + PART, DIVIDE_STEPS the
// quotient of 2**(START + DIVIDE_STEPS) by it, a bit a cycle, and its words leave. STAGES is 9 and the steps of the sums.
module fpgaflow_norm #(
    parameter STAGES = 9,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 2,
    parameter LANES = 1,
    parameter ROOT_STEPS = 1,
    parameter DIVIDE_STEPS = 1,
    parameter START = 0,
    parameter FRACTION = 0,
    parameter SHIFT = 1,
    parameter SQUARE_DSP = 0,
    parameter CENTRED = 1,
    parameter signed [63:0] WHOLE = 0,
    parameter signed [63:0] PART = 0,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter SUM_BITS = 1,
    parameter SUM_SIGNED = 0,
    parameter SQUARE_BITS = 1,
    parameter SQUARE_SIGNED = 0,
    parameter SQUARES_BITS = 1,
    parameter SQUARES_SIGNED = 0,
    parameter SPREAD_BITS = 1,
    parameter SPREAD_SIGNED = 0,
    parameter PAIRS_BITS = 2,
    parameter PAIRS_SIGNED = 0,
    parameter ROOT_BITS = 1,
    parameter ROOT_SIGNED = 0,
    parameter REST_BITS = 4,
    parameter REST_SIGNED = 0,
    parameter FACTOR_BITS = 1,
    parameter FACTOR_SIGNED = 0,
    parameter APART_BITS = 1,
    parameter APART_SIGNED = 0,
    parameter PRODUCT_BITS = 1,
    parameter PRODUCT_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter VECTOR_STYLE = ""
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
    localparam WORDS = CHANNELS / LANES, DIVIDES = WORDS + ROOT_STEPS, LEAVES = DIVIDES + DIVIDE_STEPS;
    localparam CYCLES = LEAVES + WORDS, C_BITS = $clog2(CYCLES), BITS = WORDS > 1 ? $clog2(WORDS) : 1;
    localparam SUMMED = STAGES - 7;  // steps from a word to the sums before it, which need one more
    localparam KNOWN = STAGES - 3;  // steps to the cycle of a root, of a quotient, of a distance
    wire step, count;
    wire [C_BITS-1:0] cycle;
    wire [BITS-1:0] word;
    wire reads = cycle < WORDS, leaves = cycle >= LEAVES;
    assign in_ready = count && reads;
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(CYCLES), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(reads && !in_valid), .writes(leaves),
        .ready(out_ready), .busy(busy), .step(step), .works(count), .valid(out_valid), .inner(cycle), .inner_last(),
        .outer(), .outer_last());
    fpgaflow_counter #(.N(WORDS)) words (
        .clk(clk), .reset(start), .count(count && (reads || leaves)), .at(word), .last(), .ends());
    wire takes, begins, starts, roots, opens, divides;
    fpgaflow_delay #(.BITS(2), .DEPTH(SUMMED)) sum_flags (
        .clk(clk), .step(step), .x({in_ready, word == 0}), .y({takes, begins}));
    fpgaflow_delay #(.BITS(4), .DEPTH(KNOWN)) root_flags (
        .clk(clk), .step(step),
        .x({cycle == WORDS, cycle >= WORDS && cycle < DIVIDES, cycle == DIVIDES, cycle >= DIVIDES && cycle < LEAVES}),
        .y({starts, roots, opens, divides}));

    // The sum and the sum of squares of a position; the sum is kept while the next one comes in.
    wire [LANES*IN_BITS-1:0] taken, later;
    wire [LANES*SQUARE_BITS-1:0] powers;
    wire [SUM_BITS-1:0] part;
    wire [SQUARES_BITS-1:0] power_part;
    reg [SUM_BITS-1:0] sum, total;
    reg [SQUARES_BITS-1:0] squares;
    fpgaflow_delay #(.BITS(LANES*IN_BITS), .DEPTH(1)) first_words (.clk(clk), .step(step), .x(in_data), .y(taken));
    fpgaflow_delay #(.BITS(LANES*IN_BITS), .DEPTH(1)) second_words (.clk(clk), .step(step), .x(taken), .y(later));
    fpgaflow_sum #(.COUNT(LANES), .BITS(IN_BITS), .SIGNED(IN_SIGNED), .OUT_BITS(SUM_BITS)) parts (
        .clk(clk), .step(step), .x(later), .y(part));
    fpgaflow_sum #(.COUNT(LANES), .BITS(SQUARE_BITS), .OUT_BITS(SQUARES_BITS)) power_parts (
        .clk(clk), .step(step), .x(powers), .y(power_part));
    always @(posedge clk) if (step) begin
        if (takes) begin
            sum <= (begins ? {SUM_BITS{1'b0}} : sum) + part;
            squares <= (begins ? {SQUARES_BITS{1'b0}} : squares) + power_part;
        end
        if (starts) total <= sum;
    end

    // V, which is CHANNELS - 1 where all channels are alike, and W.
    wire signed [SPREAD_BITS:0] square;
    reg [SPREAD_BITS-1:0] many, many_later, square_later, spread;
    reg [PAIRS_BITS-1:0] number;
    fpgaflow_product #(.A_BITS(SUM_BITS), .A_SIGNED(SUM_SIGNED), .B_BITS(SUM_BITS), .B_SIGNED(SUM_SIGNED),
                       .OUT_BITS(SPREAD_BITS), .OUT_SIGNED(SPREAD_SIGNED), .DSP(1)) sum_square (
        .clk(clk), .step(step), .a(sum), .b(sum), .y(square));
    always @(posedge clk) if (step) begin
        many <= squares * CHANNELS;
        many_later <= many;
        square_later <= CENTRED != 0 ? square[SPREAD_BITS-1:0] : {SPREAD_BITS{1'b0}};
        spread <= many_later - square_later;
        number <= (((spread == 0 ? CHANNELS - (CENTRED != 0) : spread) + WHOLE) << FRACTION) + PART;
    end

    // A bit of the root a step, from two bits of W, and a bit of the quotient.
    reg [PAIRS_BITS-1:0] pairs;
    reg [REST_BITS-1:0] rest, left;
    reg [ROOT_BITS-1:0] root;
    reg [FACTOR_BITS-1:0] factor;
    localparam [REST_BITS-1:0] ONE = 1;
    wire [PAIRS_BITS-1:0] pairs_now = starts ? number : pairs;
    wire [ROOT_BITS-1:0] root_now = starts ? {ROOT_BITS{1'b0}} : root;
    wire [REST_BITS-1:0] next = {starts ? {REST_BITS-2{1'b0}} : rest[REST_BITS-3:0], pairs_now[PAIRS_BITS-1 -: 2]};
    wire [REST_BITS-1:0] trial = {root_now, 2'b01};
    wire [REST_BITS-1:0] doubled = opens ? ONE << START + 1 : left << 1;
    wire fits = next >= trial, goes = doubled >= root;
    always @(posedge clk) if (step) begin
        if (roots) begin
            pairs <= pairs_now << 2;
            rest <= fits ? next - trial : next;
            root <= {root_now, fits};
        end
        if (divides) begin
            left <= goes ? doubled - root : doubled;
            factor <= {opens ? {FACTOR_BITS{1'b0}} : factor, goes};
        end
    end

    // Each channel's distance from the mean, times the quotient.
    wire [BITS-1:0] word_1;
    wire [LANES*IN_BITS-1:0] stored, kept;
    fpgaflow_delay #(.BITS(BITS), .DEPTH(1)) address (.clk(clk), .step(step), .x(word), .y(word_1));
    fpgaflow_ram #(.DEPTH(WORDS), .WIDTH(LANES*IN_BITS), .STYLE(VECTOR_STYLE)) vector (
        .clk(clk), .write(in_ready), .write_at(word), .written(in_data), .step(step), .read_at(word_1), .word(stored));
    fpgaflow_delay #(.BITS(LANES*IN_BITS), .DEPTH(KNOWN-3)) waiting (.clk(clk), .step(step), .x(stored), .y(kept));
    wire signed [APART_BITS-1:0] mean = CENTRED != 0 ? $signed({SUM_SIGNED != 0 && total[SUM_BITS-1], total}) : 0;
    localparam signed [PRODUCT_BITS:0] HALF = {{PRODUCT_BITS{1'b0}}, 1'b1} << SHIFT - 1;
    genvar l;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            wire signed [APART_BITS-1:0] x =
                $signed({IN_SIGNED != 0 && kept[(l+1)*IN_BITS-1], kept[l*IN_BITS +: IN_BITS]});
            wire signed [SQUARE_BITS:0] power;
            wire signed [PRODUCT_BITS:0] product;
            reg signed [APART_BITS-1:0] apart;
            reg signed [PRODUCT_BITS:0] wide;
            reg [OUT_BITS-1:0] result;
            fpgaflow_product #(.A_BITS(IN_BITS), .A_SIGNED(IN_SIGNED), .B_BITS(IN_BITS), .B_SIGNED(IN_SIGNED),
                               .OUT_BITS(SQUARE_BITS), .OUT_SIGNED(SQUARE_SIGNED), .DSP(SQUARE_DSP)) own_square (
                .clk(clk), .step(step), .a(taken[l*IN_BITS +: IN_BITS]), .b(taken[l*IN_BITS +: IN_BITS]), .y(power));
            assign powers[l*SQUARE_BITS +: SQUARE_BITS] = power[SQUARE_BITS-1:0];
            fpgaflow_product #(.A_BITS(APART_BITS), .A_SIGNED(APART_SIGNED), .B_BITS(FACTOR_BITS),
                               .B_SIGNED(FACTOR_SIGNED), .OUT_BITS(PRODUCT_BITS), .OUT_SIGNED(PRODUCT_SIGNED),
                               .DSP(1)) multiplier (
                .clk(clk), .step(step), .a(apart), .b(factor), .y(product));
            always @(posedge clk) if (step) begin
                apart <= x * CHANNELS - mean;
                wide <= product;
                result <= (wide + HALF) >>> SHIFT;
            end
            assign out_data[l*OUT_BITS +: OUT_BITS] = result;
        end
    endgenerate
endmodule

`default_nettype wire
