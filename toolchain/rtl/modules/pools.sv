// Units that reduce taps or whole maps channel by channel.
`default_nettype none

// Maximum or sum over TAPS taps, PARALLEL of LANES channels a cycle.
module fpgaflow_pool #(
    parameter STAGES = 2,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter TAPS = 1,
    parameter PARALLEL = 1,
    parameter MAXIMUM = 1,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [PARALLEL*LANES*IN_BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [LANES*OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam STEPS = TAPS / PARALLEL, BITS = STEPS > 1 ? $clog2(STEPS) : 1;
    wire step, works, tap_last, adds, begins;
    wire [BITS-1:0] tap;
    reg [PARALLEL*LANES*IN_BITS-1:0] word;
    assign in_ready = works;
    always @(posedge clk) if (step) word <= in_data;
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(STEPS), .OUTER(POSITIONS*(CHANNELS/LANES))) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid), .writes(tap_last),
        .ready(out_ready), .busy(busy), .step(step), .works(works), .valid(out_valid), .inner(tap),
        .inner_last(tap_last), .outer(), .outer_last());
    fpgaflow_delay #(.BITS(2), .DEPTH(STAGES-1)) flags (
        .clk(clk), .step(step), .x({works, tap == 0}), .y({adds, begins}));
    genvar l, p;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            wire [PARALLEL*IN_BITS-1:0] together;
            reg [OUT_BITS-1:0] kept;
            for (p = 0; p < PARALLEL; p = p + 1) begin : parallel_tap
                assign together[p*IN_BITS +: IN_BITS] = word[(p*LANES+l)*IN_BITS +: IN_BITS];
            end
            if (MAXIMUM != 0) begin : maximum
                wire [IN_BITS-1:0] largest;
                fpgaflow_largest #(.COUNT(PARALLEL), .BITS(IN_BITS), .SIGNED(IN_SIGNED)) tree (
                    .clk(clk), .step(step), .x(together), .y(largest));
                wire signed [IN_BITS:0] a = $signed({IN_SIGNED != 0 && largest[IN_BITS-1], largest});
                wire signed [OUT_BITS:0] b = $signed({OUT_SIGNED != 0 && kept[OUT_BITS-1], kept});
                wire signed [IN_BITS+OUT_BITS-1:0] wide = a;
                always @(posedge clk) if (step && adds) if (begins || a > b) kept <= wide[OUT_BITS-1:0];
            end else begin : total
                wire [OUT_BITS-1:0] sum;
                fpgaflow_sum #(.COUNT(PARALLEL), .BITS(IN_BITS), .SIGNED(IN_SIGNED), .OUT_BITS(OUT_BITS)) tree (
                    .clk(clk), .step(step), .x(together), .y(sum));
                always @(posedge clk) if (step && adds) kept <= (begins ? {OUT_BITS{1'b0}} : kept) + sum;
            end
            assign out_data[l*OUT_BITS +: OUT_BITS] = kept;
        end
    endgenerate
endmodule

// Sum over all positions; the running sums stand in a delay line one position long.
module fpgaflow_global_sum #(
    parameter STAGES = 2,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0
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
    wire begins, moves;
    wire [LANES*IN_BITS-1:0] word;
    wire [LANES*OUT_BITS-1:0] earlier;
    reg [LANES*OUT_BITS-1:0] after;
    fpgaflow_global_loop #(
        .STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .POSITIONS(POSITIONS), .BLOCKS(CHANNELS/LANES),
        .IN_BITS(LANES*IN_BITS), .OUT_BITS(LANES*OUT_BITS)) units (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .busy(busy), .in_data(in_data), .in_valid(in_valid),
        .in_ready(in_ready), .out_valid(out_valid), .out_ready(out_ready), .moves(moves), .begins(begins), .word(word),
        .after(after), .earlier(earlier));
    assign out_data = after;
    genvar l;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            wire signed [OUT_BITS:0] x = $signed({IN_SIGNED != 0 && word[(l+1)*IN_BITS-1], word[l*IN_BITS +: IN_BITS]});
            always @(posedge clk) if (moves)
                after[l*OUT_BITS +: OUT_BITS] <=
                    (begins ? {OUT_BITS{1'b0}} : earlier[l*OUT_BITS +: OUT_BITS]) + x[OUT_BITS-1:0];
        end
    endgenerate
endmodule

// Maximum over all positions.
module fpgaflow_global_max #(
    parameter STAGES = 2,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter BITS = 1,
    parameter SIGNED = 0
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [LANES*BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [LANES*BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    wire begins, moves;
    wire [LANES*BITS-1:0] word, earlier;
    reg [LANES*BITS-1:0] after;
    fpgaflow_global_loop #(
        .STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .POSITIONS(POSITIONS), .BLOCKS(CHANNELS/LANES),
        .IN_BITS(LANES*BITS), .OUT_BITS(LANES*BITS)) units (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .busy(busy), .in_data(in_data), .in_valid(in_valid),
        .in_ready(in_ready), .out_valid(out_valid), .out_ready(out_ready), .moves(moves), .begins(begins), .word(word),
        .after(after), .earlier(earlier));
    assign out_data = after;
    genvar l;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            wire signed [BITS:0] x = $signed({SIGNED != 0 && word[(l+1)*BITS-1], word[l*BITS +: BITS]});
            wire signed [BITS:0] y = $signed({SIGNED != 0 && earlier[(l+1)*BITS-1], earlier[l*BITS +: BITS]});
            always @(posedge clk) if (moves)
                after[l*BITS +: BITS] <= begins || x > y ? word[l*BITS +: BITS] : earlier[l*BITS +: BITS];
        end
    endgenerate
endmodule

// The loop of both: each running result returns when its channel does. `after` is a register that moves with `moves`.
module fpgaflow_global_loop #(
    parameter STAGES = 2,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter BLOCKS = 1,
    parameter IN_BITS = 1,
    parameter OUT_BITS = 1
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [IN_BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire out_valid,
    input wire out_ready,
    output wire moves,
    output reg begins,
    output reg [IN_BITS-1:0] word,
    input wire [OUT_BITS-1:0] after,
    output wire [OUT_BITS-1:0] earlier
);
    localparam AT_BITS = POSITIONS > 1 ? $clog2(POSITIONS) : 1;
    wire step, works, last;
    wire [AT_BITS-1:0] position;
    reg taken;
    assign in_ready = works;
    assign moves = step && taken;
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(BLOCKS), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid), .writes(last), .ready(out_ready),
        .busy(busy), .step(step), .works(works), .valid(out_valid), .inner(), .inner_last(), .outer(position),
        .outer_last(last));
    always @(posedge clk) begin
        if (reset) taken <= 1'b0;
        else if (step) taken <= works;
        if (step) begin
            word <= in_data;
            begins <= position == 0;
        end
    end
    fpgaflow_delay #(.BITS(OUT_BITS), .DEPTH(BLOCKS-1)) line (.clk(clk), .step(moves), .x(after), .y(earlier));
endmodule

// One filter a channel: PARALLEL of TAPS taps of LANES channels a cycle. weight: [fold][parallel], a memory a lane.
module fpgaflow_depthwise #(
    parameter STAGES = 3,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter TAPS = 1,
    parameter PARALLEL = 1,
    parameter DSP = 0,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter PRODUCT_BITS = 1,
    parameter PRODUCT_SIGNED = 0,
    parameter WEIGHT_BITS = 1,
    parameter WEIGHT_SIGNED = 0,
    parameter WEIGHT_FILE = "",
    parameter WEIGHT_STYLE = ""
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [PARALLEL*LANES*IN_BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [LANES*OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam STEPS = TAPS / PARALLEL, FOLDS = STEPS * (CHANNELS / LANES);
    localparam BITS = STEPS > 1 ? $clog2(STEPS) : 1, F_BITS = FOLDS > 1 ? $clog2(FOLDS) : 1;
    wire step, works, tap_last, adds, begins;
    wire [BITS-1:0] tap;
    wire [F_BITS-1:0] fold;
    reg [PARALLEL*LANES*IN_BITS-1:0] word;
    assign in_ready = works;
    always @(posedge clk) if (step) word <= in_data;
    fpgaflow_counter #(.N(STEPS)) taps (
        .clk(clk), .reset(start), .count(works), .at(tap), .last(tap_last), .ends());
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(FOLDS), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid), .writes(tap_last),
        .ready(out_ready), .busy(busy), .step(step), .works(works), .valid(out_valid), .inner(fold), .inner_last(),
        .outer(), .outer_last());
    fpgaflow_delay #(.BITS(2), .DEPTH(STAGES-1)) flags (
        .clk(clk), .step(step), .x({works, tap == 0}), .y({adds, begins}));
    genvar l, p;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            localparam [31:0] NUMBER = l;
            wire [PARALLEL*IN_BITS-1:0] together;
            wire [PARALLEL*WEIGHT_BITS-1:0] weights;
            wire [OUT_BITS-1:0] dot;
            reg [OUT_BITS-1:0] sum;
            for (p = 0; p < PARALLEL; p = p + 1) begin : parallel_tap
                assign together[p*IN_BITS +: IN_BITS] = word[(p*LANES+l)*IN_BITS +: IN_BITS];
            end
            fpgaflow_bank #(.DEPTH(FOLDS), .WIDTH(PARALLEL*WEIGHT_BITS), .FILE(WEIGHT_FILE), .NUMBER(NUMBER),
                            .STYLE(WEIGHT_STYLE)) bank (
                .clk(clk), .step(step), .at(fold), .word(weights));
            fpgaflow_dots #(
                .SIMD(PARALLEL), .PE(1), .DSP(DSP), .IN_BITS(IN_BITS), .IN_SIGNED(IN_SIGNED), .WEIGHT_BITS(WEIGHT_BITS),
                .WEIGHT_SIGNED(WEIGHT_SIGNED), .PRODUCT_BITS(PRODUCT_BITS), .PRODUCT_SIGNED(PRODUCT_SIGNED),
                .OUT_BITS(OUT_BITS)) products (
                .clk(clk), .step(step), .weights(weights), .values(together), .dots(dot));
            always @(posedge clk) if (step && adds) sum <= (begins ? {OUT_BITS{1'b0}} : sum) + dot;
            assign out_data[l*OUT_BITS +: OUT_BITS] = sum;
        end
    endgenerate
endmodule

`default_nettype wire
