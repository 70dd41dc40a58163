// Quantization: thresholds that are counted, or multiply, add and shift.
`default_nettype none

// y = start + step * #{t : x >= threshold[t]}; all thresholds of a word are compared in one cycle.
module fpgaflow_threshold #(
    parameter STAGES = 3,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter STEPS = 1,
    parameter THRESHOLD_BLOCKS = 1,
    parameter THRESHOLD_LANES = 1,
    parameter START_BLOCKS = 1,
    parameter START_LANES = 1,
    parameter STEP_BLOCKS = 1,
    parameter STEP_LANES = 1,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter COUNT_BITS = 1,
    parameter COUNT_SIGNED = 0,
    parameter SPAN_BITS = 1,
    parameter SPAN_SIGNED = 0,
    parameter THRESHOLD_BITS = 1,
    parameter THRESHOLD_SIGNED = 0,
    parameter THRESHOLD_FILE = "",
    parameter THRESHOLD_STYLE = "",
    parameter START_BITS = 1,
    parameter START_SIGNED = 0,
    parameter START_FILE = "",
    parameter START_STYLE = "",
    parameter STEP_BITS = 1,
    parameter STEP_SIGNED = 0,
    parameter STEP_FILE = "",
    parameter STEP_STYLE = ""
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
    localparam BLOCKS = CHANNELS / LANES, BITS = BLOCKS > 1 ? $clog2(BLOCKS) : 1;
    localparam S = IN_SIGNED != 0, ST = THRESHOLD_SIGNED != 0;
    localparam IN = IN_BITS + (S ? 0 : 1), BOUND = THRESHOLD_BITS + (ST ? 0 : 1), WIDE = IN > BOUND ? IN : BOUND;
    wire step, works;
    wire [BITS-1:0] block, block_later;
    reg [LANES*IN_BITS-1:0] word;
    assign in_ready = works;
    always @(posedge clk) if (step) word <= in_data;
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(BLOCKS), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid), .writes(1'b1), .ready(out_ready),
        .busy(busy), .step(step), .works(works), .valid(out_valid), .inner(block), .inner_last(), .outer(),
        .outer_last());
    // starts and sizes are read for the last step
    fpgaflow_delay #(.BITS(BITS), .DEPTH(STAGES - 2)) later (.clk(clk), .step(step), .x(block), .y(block_later));

    genvar l, t;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            localparam [31:0] NT = THRESHOLD_LANES == 1 ? 0 : l, NB = START_LANES == 1 ? 0 : l;
            localparam [31:0] NS = STEP_LANES == 1 ? 0 : l;
            wire [STEPS*THRESHOLD_BITS-1:0] thresholds;
            wire [START_BITS-1:0] first;
            wire [STEP_BITS-1:0] size;
            fpgaflow_bank #(.DEPTH(THRESHOLD_BLOCKS), .WIDTH(STEPS*THRESHOLD_BITS), .FILE(THRESHOLD_FILE), .NUMBER(NT),
                            .STYLE(THRESHOLD_STYLE)) threshold_bank (
                .clk(clk), .step(step), .at(block), .word(thresholds));
            fpgaflow_bank #(.DEPTH(START_BLOCKS), .WIDTH(START_BITS), .FILE(START_FILE), .NUMBER(NB),
                            .STYLE(START_STYLE)) start_bank (
                .clk(clk), .step(step), .at(block_later), .word(first));
            fpgaflow_bank #(.DEPTH(STEP_BLOCKS), .WIDTH(STEP_BITS), .FILE(STEP_FILE), .NUMBER(NS),
                            .STYLE(STEP_STYLE)) step_bank (
                .clk(clk), .step(step), .at(block_later), .word(size));
            wire [IN_BITS-1:0] x = word[l*IN_BITS +: IN_BITS];
            wire signed [WIDE-1:0] value = $signed({S && x[IN_BITS-1], x});
            reg [STEPS-1:0] reached;
            for (t = 0; t < STEPS; t = t + 1) begin : compare
                wire [THRESHOLD_BITS-1:0] y = thresholds[t*THRESHOLD_BITS +: THRESHOLD_BITS];
                wire signed [WIDE-1:0] bound = $signed({ST && y[THRESHOLD_BITS-1], y});
                always @(posedge clk) if (step) reached[t] <= value >= bound;
            end
            wire [COUNT_BITS-1:0] count;
            fpgaflow_ones #(.COUNT(STEPS), .OUT_BITS(COUNT_BITS)) ones (
                .clk(clk), .step(step), .x(reached), .y(count));
            wire signed [OUT_BITS:0] base = $signed({START_SIGNED != 0 && first[START_BITS-1], first});
            wire signed [OUT_BITS:0] each = $signed({STEP_SIGNED != 0 && size[STEP_BITS-1], size});
            wire signed [OUT_BITS:0] many = $signed({1'b0, count});
            reg [OUT_BITS-1:0] code;
            wire signed [OUT_BITS:0] sum = base + each * many;
            always @(posedge clk) if (step) code <= sum[OUT_BITS-1:0];
            assign out_data[l*OUT_BITS +: OUT_BITS] = code;
        end
    endgenerate
endmodule

// y = start + the sum of step[t] over the t with x >= threshold[t]: steps of both signs.
module fpgaflow_staircase #(
    parameter STAGES = 3,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter STEPS = 1,
    parameter THRESHOLD_BLOCKS = 1,
    parameter THRESHOLD_LANES = 1,
    parameter START_BLOCKS = 1,
    parameter START_LANES = 1,
    parameter STEP_BLOCKS = 1,
    parameter STEP_LANES = 1,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter SPAN_BITS = 1,
    parameter SPAN_SIGNED = 0,
    parameter THRESHOLD_BITS = 1,
    parameter THRESHOLD_SIGNED = 0,
    parameter THRESHOLD_FILE = "",
    parameter THRESHOLD_STYLE = "",
    parameter START_BITS = 1,
    parameter START_SIGNED = 0,
    parameter START_FILE = "",
    parameter START_STYLE = "",
    parameter STEP_BITS = 1,
    parameter STEP_SIGNED = 0,
    parameter STEP_FILE = "",
    parameter STEP_STYLE = ""
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
    localparam BLOCKS = CHANNELS / LANES, BITS = BLOCKS > 1 ? $clog2(BLOCKS) : 1;
    localparam S = IN_SIGNED != 0, ST = THRESHOLD_SIGNED != 0;
    localparam IN = IN_BITS + (S ? 0 : 1), BOUND = THRESHOLD_BITS + (ST ? 0 : 1), WIDE = IN > BOUND ? IN : BOUND;
    wire step, works;
    wire [BITS-1:0] block, block_later;
    reg [LANES*IN_BITS-1:0] word;
    assign in_ready = works;
    always @(posedge clk) if (step) word <= in_data;
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(BLOCKS), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid), .writes(1'b1), .ready(out_ready),
        .busy(busy), .step(step), .works(works), .valid(out_valid), .inner(block), .inner_last(), .outer(),
        .outer_last());
    // starts are read for the last step
    fpgaflow_delay #(.BITS(BITS), .DEPTH(STAGES - 2)) later (.clk(clk), .step(step), .x(block), .y(block_later));

    genvar l, t;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            localparam [31:0] NT = THRESHOLD_LANES == 1 ? 0 : l, NB = START_LANES == 1 ? 0 : l;
            localparam [31:0] NS = STEP_LANES == 1 ? 0 : l;
            wire [STEPS*THRESHOLD_BITS-1:0] thresholds;
            wire [STEPS*STEP_BITS-1:0] sizes;
            wire [START_BITS-1:0] first;
            fpgaflow_bank #(.DEPTH(THRESHOLD_BLOCKS), .WIDTH(STEPS*THRESHOLD_BITS), .FILE(THRESHOLD_FILE), .NUMBER(NT),
                            .STYLE(THRESHOLD_STYLE)) threshold_bank (
                .clk(clk), .step(step), .at(block), .word(thresholds));
            fpgaflow_bank #(.DEPTH(STEP_BLOCKS), .WIDTH(STEPS*STEP_BITS), .FILE(STEP_FILE), .NUMBER(NS),
                            .STYLE(STEP_STYLE)) step_bank (
                .clk(clk), .step(step), .at(block), .word(sizes));
            fpgaflow_bank #(.DEPTH(START_BLOCKS), .WIDTH(START_BITS), .FILE(START_FILE), .NUMBER(NB),
                            .STYLE(START_STYLE)) start_bank (
                .clk(clk), .step(step), .at(block_later), .word(first));
            wire [IN_BITS-1:0] x = word[l*IN_BITS +: IN_BITS];
            wire signed [WIDE-1:0] value = $signed({S && x[IN_BITS-1], x});
            reg [STEPS*STEP_BITS-1:0] taken;
            for (t = 0; t < STEPS; t = t + 1) begin : compare
                wire [THRESHOLD_BITS-1:0] y = thresholds[t*THRESHOLD_BITS +: THRESHOLD_BITS];
                wire signed [WIDE-1:0] bound = $signed({ST && y[THRESHOLD_BITS-1], y});
                always @(posedge clk) if (step)
                    taken[t*STEP_BITS +: STEP_BITS] <= value >= bound ? sizes[t*STEP_BITS +: STEP_BITS] : 0;
            end
            wire [OUT_BITS-1:0] rise;
            fpgaflow_sum #(.COUNT(STEPS), .BITS(STEP_BITS), .SIGNED(STEP_SIGNED), .OUT_BITS(OUT_BITS)) sum (
                .clk(clk), .step(step), .x(taken), .y(rise));
            wire signed [OUT_BITS:0] base = $signed({START_SIGNED != 0 && first[START_BITS-1], first});
            reg [OUT_BITS-1:0] code;
            always @(posedge clk) if (step) code <= base[OUT_BITS-1:0] + rise;
            assign out_data[l*OUT_BITS +: OUT_BITS] = code;
        end
    endgenerate
endmodule

// y = clip(base + round((x * mul + add) / 2**SHIFT)), rounding half to even, the bases even.
module fpgaflow_mul_shift #(
    parameter STAGES = 5,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter DSP = 0,
    parameter SHIFT = 0,
    parameter MUL_BLOCKS = 1,
    parameter MUL_LANES = 1,
    parameter ADD_BLOCKS = 1,
    parameter ADD_LANES = 1,
    parameter BASE_BLOCKS = 1,
    parameter BASE_LANES = 1,
    parameter signed [63:0] LOW = 0,
    parameter signed [63:0] HIGH = 0,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter PRODUCT_BITS = 1,
    parameter PRODUCT_SIGNED = 0,
    parameter SUM_BITS = 1,
    parameter SUM_SIGNED = 0,
    parameter MUL_BITS = 1,
    parameter MUL_SIGNED = 0,
    parameter MUL_FILE = "",
    parameter MUL_STYLE = "",
    parameter ADD_BITS = 1,
    parameter ADD_SIGNED = 0,
    parameter ADD_FILE = "",
    parameter ADD_STYLE = "",
    parameter BASE_BITS = 1,
    parameter BASE_SIGNED = 0,
    parameter BASE_FILE = "",
    parameter BASE_STYLE = ""
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
    localparam BLOCKS = CHANNELS / LANES, BITS = BLOCKS > 1 ? $clog2(BLOCKS) : 1;
    localparam WIDE = SUM_BITS + (SUM_SIGNED != 0 ? 0 : 1);  // a signed number that holds every sum
    localparam QUOTIENT = WIDE - SHIFT > OUT_BITS ? WIDE - SHIFT : OUT_BITS + 1;
    // an end of the clip that a quotient cannot have is beyond all of them; ends have 64 bits, quotients perhaps more
    localparam signed [63:0] TOP = (64'd1 << (QUOTIENT < 64 ? QUOTIENT - 1 : 63)) - 64'd1;
    localparam signed [63:0] NEAR = LOW < -TOP ? -TOP - 64'd1 : LOW, FAR = HIGH > TOP ? TOP : HIGH;
    localparam signed [QUOTIENT-1:0] LEAST = NEAR, MOST = FAR;
    localparam signed [WIDE-1:0] BELOW_HALF = SHIFT == 0 ? 0 : (64'd1 << (SHIFT > 0 ? SHIFT - 1 : 0)) - 64'd1;
    wire step, works;
    wire [BITS-1:0] block, block_later;
    reg [LANES*IN_BITS-1:0] word;
    assign in_ready = works;
    always @(posedge clk) if (step) word <= in_data;
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(BLOCKS), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid), .writes(1'b1), .ready(out_ready),
        .busy(busy), .step(step), .works(works), .valid(out_valid), .inner(block), .inner_last(), .outer(),
        .outer_last());
    fpgaflow_delay #(.BITS(BITS), .DEPTH(1)) later (.clk(clk), .step(step), .x(block), .y(block_later));

    genvar l;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            localparam [31:0] NM = MUL_LANES == 1 ? 0 : l, NA = ADD_LANES == 1 ? 0 : l;
            localparam [31:0] NB = BASE_LANES == 1 ? 0 : l;
            wire [MUL_BITS-1:0] mul;
            wire [ADD_BITS-1:0] add;
            wire [BASE_BITS-1:0] base;
            fpgaflow_bank #(.DEPTH(MUL_BLOCKS), .WIDTH(MUL_BITS), .FILE(MUL_FILE), .NUMBER(NM), .STYLE(MUL_STYLE))
                mul_bank (.clk(clk), .step(step), .at(block), .word(mul));
            fpgaflow_bank #(.DEPTH(ADD_BLOCKS), .WIDTH(ADD_BITS), .FILE(ADD_FILE), .NUMBER(NA), .STYLE(ADD_STYLE))
                add_bank (.clk(clk), .step(step), .at(block_later), .word(add));
            fpgaflow_bank #(.DEPTH(BASE_BLOCKS), .WIDTH(BASE_BITS), .FILE(BASE_FILE), .NUMBER(NB), .STYLE(BASE_STYLE))
                base_bank (.clk(clk), .step(step), .at(block_later), .word(base));

            wire signed [PRODUCT_BITS:0] product;
            fpgaflow_product #(.A_BITS(MUL_BITS), .A_SIGNED(MUL_SIGNED), .B_BITS(IN_BITS), .B_SIGNED(IN_SIGNED),
                               .OUT_BITS(PRODUCT_BITS), .OUT_SIGNED(PRODUCT_SIGNED), .DSP(DSP)) multiplier (
                .clk(clk), .step(step), .a(mul), .b(word[l*IN_BITS +: IN_BITS]), .y(product));

            wire signed [WIDE-1:0] low = $signed({ADD_SIGNED != 0 && add[ADD_BITS-1], add});
            wire signed [WIDE-1:0] high = $signed({BASE_SIGNED != 0 && base[BASE_BITS-1], base});
            reg signed [WIDE-1:0] sum;
            reg signed [QUOTIENT-1:0] rounded;
            reg [OUT_BITS-1:0] code;
            wire odd = SHIFT == 0 ? 1'b0 : sum[SHIFT];
            wire signed [WIDE-1:0] more = sum + BELOW_HALF + $signed({1'b0, odd});
            always @(posedge clk) if (step) begin
                sum <= product + (low + (high <<< SHIFT));
                rounded <= more >>> SHIFT;
                code <= rounded < LEAST ? LEAST[OUT_BITS-1:0] : rounded > MOST ? MOST[OUT_BITS-1:0] : rounded[OUT_BITS-1:0];
            end
            assign out_data[l*OUT_BITS +: OUT_BITS] = code;
        end
    endgenerate
endmodule

// Any function of one integer: y = table[x - LOW], every lane with a memory of its own.
module fpgaflow_lookup #(
    parameter STAGES = 3,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter ENTRIES = 2,
    parameter TABLE_BLOCKS = 1,
    parameter signed [63:0] LOW = 0,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter PLACE_BITS = 1,
    parameter PLACE_SIGNED = 0,
    parameter TABLE_BITS = 1,
    parameter TABLE_SIGNED = 0,
    parameter TABLE_FILE = "",
    parameter TABLE_STYLE = ""
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
    localparam BLOCKS = CHANNELS / LANES, BITS = BLOCKS > 1 ? $clog2(BLOCKS) : 1;
    localparam DEPTH = TABLE_BLOCKS * ENTRIES, AT_BITS = DEPTH > 1 ? $clog2(DEPTH) : 1, WIDE = AT_BITS + IN_BITS + 2;
    wire step, works;
    wire [BITS-1:0] block;
    reg [BITS-1:0] block_1;
    reg [LANES*IN_BITS-1:0] word;
    wire [AT_BITS-1:0] first = TABLE_BLOCKS > 1 ? block_1 * ENTRIES : 0;
    assign in_ready = works;
    always @(posedge clk) if (step) begin
        word <= in_data;
        block_1 <= block;
    end
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(BLOCKS), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid), .writes(1'b1), .ready(out_ready),
        .busy(busy), .step(step), .works(works), .valid(out_valid), .inner(block), .inner_last(), .outer(),
        .outer_last());
    genvar l;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            localparam [31:0] NUMBER = l;
            wire [IN_BITS-1:0] x = word[l*IN_BITS +: IN_BITS];
            wire signed [WIDE-1:0] value = $signed({IN_SIGNED != 0 && x[IN_BITS-1], x});
            wire [WIDE-1:0] place = value - LOW[WIDE-1:0];
            reg [AT_BITS-1:0] at;
            wire [TABLE_BITS-1:0] entry;
            always @(posedge clk) if (step) at <= first + place[AT_BITS-1:0];
            fpgaflow_bank #(.DEPTH(DEPTH), .WIDTH(TABLE_BITS), .FILE(TABLE_FILE), .NUMBER(NUMBER),
                            .STYLE(TABLE_STYLE)) bank (.clk(clk), .step(step), .at(at), .word(entry));
            wire signed [OUT_BITS+TABLE_BITS-1:0] code = $signed({TABLE_SIGNED != 0 && entry[TABLE_BITS-1], entry});
            assign out_data[l*OUT_BITS +: OUT_BITS] = code[OUT_BITS-1:0];
        end
    endgenerate
endmodule

`default_nettype wire
