// Units that join, pick and spread the words of maps, and the largest channel's index.
`default_nettype none

// The words of one stream after the other at every position: BLOCKS of each, with channels of STREAM_BITS.
module fpgaflow_concat #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16,
    parameter STREAMS = 2,
    parameter [32*STREAMS-1:0] STREAM_BITS = 0,
    parameter [32*STREAMS-1:0] STREAM_SIGNED = 0,
    parameter [32*STREAMS-1:0] BLOCKS = 0,
    parameter POSITIONS = 1,
    parameter TOTAL = 1,
    parameter LANES = 1,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter IN_WIDTH = 1
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [IN_WIDTH-1:0] in_data,
    input wire [STREAMS-1:0] in_valid,
    output wire [STREAMS-1:0] in_ready,
    output wire [LANES*OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    // Bits of a channel of the first `count` streams together; and words a position of them.
    function integer widths(input integer count);
        integer n;
        begin
            widths = 0;
            for (n = 0; n < count; n = n + 1) widths = widths + STREAM_BITS[32*n +: 32];
        end
    endfunction
    function integer words(input integer count);
        integer n;
        begin
            words = 0;
            for (n = 0; n < count; n = n + 1) words = words + BLOCKS[32*n +: 32];
        end
    endfunction

    localparam BITS = TOTAL > 1 ? $clog2(TOTAL) : 1, W = LANES * OUT_BITS;
    wire step, works;
    wire [BITS-1:0] block;
    wire [STREAMS-1:0] turn;
    wire [STREAMS*W-1:0] wide;
    reg [W-1:0] word, chosen;
    assign in_ready = {STREAMS{works}} & turn;
    assign out_data = word;
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(TOTAL), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!(|(in_valid & turn))), .writes(1'b1),
        .ready(out_ready), .busy(busy), .step(step), .works(works), .valid(out_valid), .inner(block), .inner_last(),
        .outer(), .outer_last());
    genvar s, l;
    generate
        for (s = 0; s < STREAMS; s = s + 1) begin : stream
            localparam B = STREAM_BITS[32*s +: 32], AT = LANES * widths(s);
            assign turn[s] = block >= words(s) && block < words(s + 1);
            for (l = 0; l < LANES; l = l + 1) begin : lane
                wire [B-1:0] x = in_data[AT+l*B +: B];
                wire signed [OUT_BITS+B-1:0] y = $signed({STREAM_SIGNED[32*s] && x[B-1], x});
                assign wide[s*W+l*OUT_BITS +: OUT_BITS] = y[OUT_BITS-1:0];
            end
        end
    endgenerate
    integer n;
    always @* begin
        chosen = 0;
        for (n = 0; n < STREAMS; n = n + 1) chosen = chosen | (wide[n*W +: W] & {W{turn[n]}});
    end
    always @(posedge clk) if (step) word <= chosen;
endmodule

// The words FIRST to LAST - 1 of every position.
module fpgaflow_slice #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter FIRST = 0,
    parameter LAST = 1,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [LANES*IN_BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [LANES*IN_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam BLOCKS = CHANNELS / LANES, BITS = BLOCKS > 1 ? $clog2(BLOCKS) : 1;
    wire step, works;
    wire [BITS-1:0] block;
    reg [LANES*IN_BITS-1:0] word;
    assign in_ready = works;
    assign out_data = word;
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(BLOCKS), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid),
        .writes(block >= FIRST && block < LAST), .ready(out_ready), .busy(busy), .step(step), .works(works),
        .valid(out_valid), .inner(block), .inner_last(), .outer(), .outer_last());
    always @(posedge clk) if (step) word <= in_data;
endmodule

// Several positions from each one: lines are made from one row while the next one is read. The words of position
// (dy, dx) of a block begin at dy * STEP_H + dx * STEP_W, its lane l is lane l * LANES_IN / LANES_OUT + dy * LANE_H +
// dx * LANE_W of the stored word. The first and the last row make TOP and BOTTOM lines more, the first and the last
// position of a row LEFT and RIGHT more.
module fpgaflow_spread #(
    parameter STAGES = 3,
    parameter FRAME_BITS = 16,
    parameter HEIGHT = 1,
    parameter WIDTH = 1,
    parameter IN_WORDS = 1,
    parameter OUT_WORDS = 1,
    parameter FACTOR_H = 1,
    parameter FACTOR_W = 1,
    parameter TOP = 0,
    parameter BOTTOM = 0,
    parameter LEFT = 0,
    parameter RIGHT = 0,
    parameter STEP_H = 0,
    parameter STEP_W = 0,
    parameter LANE_H = 0,
    parameter LANE_W = 0,
    parameter LANES_IN = 1,
    parameter LANES_OUT = 1,
    parameter BITS = 1,
    parameter SIGNED = 0,
    parameter ROWS_STYLE = ""
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [LANES_IN*BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [LANES_OUT*BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam ROW_WORDS = WIDTH * IN_WORDS, AT_BITS = $clog2(2 * ROW_WORDS), STRIDE = LANES_IN / LANES_OUT;
    localparam S_BITS = $clog2(ROW_WORDS + 1), PICK_BITS = STRIDE > 1 ? $clog2(STRIDE) : 1;
    localparam Y_BITS = $clog2(FACTOR_H + TOP + BOTTOM + 1), Z_BITS = $clog2(FACTOR_W + LEFT + RIGHT + 1);
    localparam R_BITS = HEIGHT > 1 ? $clog2(HEIGHT) : 1;
    localparam X_BITS = WIDTH > 1 ? $clog2(WIDTH) : 1, W_BITS = OUT_WORDS > 1 ? $clog2(OUT_WORDS) : 1;
    reg filling;  // the first row
    reg slot;  // the row that lines are made from
    reg [S_BITS-1:0] stored;
    reg [FRAME_BITS-1:0] unread;  // frames that are not read to their end
    wire step, count, word_last, word_ends, dx_last, dx_ends, x_last, x_ends, dy_last, dy_ends, frame_read, row_last;
    wire [Y_BITS-1:0] dy;
    wire [Z_BITS-1:0] dx;
    wire [X_BITS-1:0] x;
    wire [R_BITS-1:0] row;
    wire [W_BITS-1:0] word;
    wire reads = stored < ROW_WORDS && unread != 0;
    wire whole = in_ready && stored == ROW_WORDS - 1;  // the row that is read ends
    wire row_done = word_last && dx_last && x_last && dy_last;  // the row that lines are made from ends
    assign in_ready = count && reads;
    fpgaflow_counter #(.N(OUT_WORDS)) word_counter (
        .clk(clk), .reset(start), .count(count && !filling), .at(word), .last(word_last), .ends(word_ends));
    fpgaflow_again #(.TIMES(FACTOR_W), .EARLIER(LEFT), .LATER(RIGHT), .BITS(Z_BITS)) dx_counter (
        .clk(clk), .reset(start), .count(word_ends), .first(x == 0), .final_one(x_last), .at(dx), .last(dx_last),
        .ends(dx_ends));
    fpgaflow_counter #(.N(WIDTH)) x_counter (
        .clk(clk), .reset(start), .count(dx_ends), .at(x), .last(x_last), .ends(x_ends));
    fpgaflow_again #(.TIMES(FACTOR_H), .EARLIER(TOP), .LATER(BOTTOM), .BITS(Y_BITS)) dy_counter (
        .clk(clk), .reset(start), .count(x_ends), .first(row == 0), .final_one(row_last), .at(dy), .last(dy_last),
        .ends(dy_ends));
    fpgaflow_counter #(.N(HEIGHT)) row_in (
        .clk(clk), .reset(start), .count(whole), .at(), .last(), .ends(frame_read));
    fpgaflow_counter #(.N(HEIGHT)) row_out (
        .clk(clk), .reset(start), .count(dy_ends), .at(row), .last(row_last), .ends());
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(reads && !in_valid), .writes(!filling),
        .ends(!filling && row_done && row_last), .ready(out_ready), .busy(busy), .step(step),
        .works(count), .valid(out_valid));
    always @(posedge clk) begin
        if (start) begin
            filling <= 1'b1;
            slot <= 1'b1;
            stored <= 0;
            unread <= frames;
        end else if (count) begin
            if (frame_read) unread <= unread - 1'b1;
            if (filling ? whole : row_done) begin
                filling <= 1'b0;
                slot <= !slot;
                stored <= 0;
            end else if (in_ready) begin
                stored <= stored + 1'b1;
            end
        end
    end

    reg [AT_BITS-1:0] read_at;
    reg [PICK_BITS-1:0] pick_1, pick_2;
    wire [LANES_IN*BITS-1:0] held;
    reg [LANES_OUT*BITS-1:0] result;
    assign out_data = result;
    fpgaflow_ram #(.DEPTH(2*ROW_WORDS), .WIDTH(LANES_IN*BITS), .STYLE(ROWS_STYLE)) rows (
        .clk(clk), .write(in_ready), .write_at((slot ? 0 : ROW_WORDS) + stored), .written(in_data), .step(step),
        .read_at(read_at), .word(held));
    integer l;
    always @(posedge clk) if (step) begin
        read_at <= (slot ? ROW_WORDS : 0) + x * IN_WORDS + dy * STEP_H + dx * STEP_W + word;
        pick_1 <= STRIDE > 1 ? dy * LANE_H + dx * LANE_W : 0;
        pick_2 <= pick_1;
        for (l = 0; l < LANES_OUT; l = l + 1)
            result[l*BITS +: BITS] <= held[(l*STRIDE+pick_2)*BITS +: BITS];
    end
endmodule

// Counts how often a row or position is made: TIMES, EARLIER more of the first one and LATER more of the last.
module fpgaflow_again #(
    parameter TIMES = 1,
    parameter EARLIER = 0,
    parameter LATER = 0,
    parameter BITS = 1
) (
    input wire clk,
    input wire reset,
    input wire count,
    input wire first,
    input wire final_one,
    output reg [BITS-1:0] at,
    output wire last,
    output wire ends
);
    wire [BITS-1:0] most = TIMES - 1 + (first ? EARLIER : 0) + (final_one ? LATER : 0);
    assign last = at == most;
    assign ends = last && count;
    always @(posedge clk) begin
        if (reset) at <= 0;
        else if (count) at <= last ? {BITS{1'b0}} : at + 1'b1;
    end
endmodule

// Index of the largest channel, of equal ones the first or the last.
module fpgaflow_argmax #(
    parameter STAGES = 2,
    parameter FRAME_BITS = 16,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter LAST = 0,
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
    output wire [OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam BLOCKS = CHANNELS / LANES, BITS = BLOCKS > 1 ? $clog2(BLOCKS) : 1;
    localparam L_BITS = LANES > 1 ? $clog2(LANES) : 1, PAIR = IN_BITS + L_BITS;
    wire step, works, compares, last;
    wire [BITS-1:0] block, block_later;
    reg [LANES*IN_BITS-1:0] word;
    assign in_ready = works;
    always @(posedge clk) if (step) word <= in_data;
    fpgaflow_counter #(.N(BLOCKS)) blocks (
        .clk(clk), .reset(start), .count(works), .at(block), .last(last), .ends());
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid), .writes(last), .ends(last),
        .ready(out_ready), .busy(busy), .step(step), .works(works), .valid(out_valid));
    fpgaflow_delay #(.BITS(1+BITS), .DEPTH(STAGES-1)) later (
        .clk(clk), .step(step), .x({works, block}), .y({compares, block_later}));
    wire [LANES*PAIR-1:0] pairs;
    wire [PAIR-1:0] found;
    genvar l;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            localparam [L_BITS-1:0] NUMBER = l;
            assign pairs[l*PAIR +: PAIR] = {word[l*IN_BITS +: IN_BITS], NUMBER};
        end
    endgenerate
    fpgaflow_best #(.COUNT(LANES), .BITS(IN_BITS), .SIGNED(IN_SIGNED), .TAG_BITS(L_BITS), .LAST(LAST)) tree (
        .clk(clk), .step(step), .x(pairs), .y(found));
    reg [IN_BITS-1:0] best;
    reg [OUT_BITS-1:0] index;
    wire [IN_BITS-1:0] largest = found[PAIR-1:L_BITS];
    wire signed [IN_BITS:0] a = $signed({IN_SIGNED != 0 && largest[IN_BITS-1], largest});
    wire signed [IN_BITS:0] b = $signed({IN_SIGNED != 0 && best[IN_BITS-1], best});
    assign out_data = index;
    always @(posedge clk) if (step && compares) if (block_later == 0 || a > b || (LAST != 0 && a == b)) begin
        best <= largest;
        index <= block_later * LANES + found[L_BITS-1:0];
    end
endmodule

// The largest of COUNT numbers, each with a tag behind it, in as many steps as their sum.
module fpgaflow_best #(
    parameter COUNT = 1,
    parameter BITS = 1,
    parameter SIGNED = 0,
    parameter TAG_BITS = 1,
    parameter LAST = 0,
    parameter LEVEL = 0
) (
    input wire clk,
    input wire step,
    input wire [COUNT*(BITS+TAG_BITS)-1:0] x,
    output wire [BITS+TAG_BITS-1:0] y
);
    localparam S = SIGNED != 0, W = BITS + TAG_BITS;
    genvar i;
    generate
        if (COUNT == 1) begin : one
            assign y = x;
        end else begin : level
            localparam NEXT = (COUNT + 1) / 2;
            wire [NEXT*W-1:0] larger, kept;
            for (i = 0; i < NEXT; i = i + 1) begin : pair
                if (2 * i + 1 < COUNT) begin : both
                    wire [W-1:0] p = x[2*i*W +: W], q = x[(2*i+1)*W +: W];
                    wire signed [BITS:0] a = $signed({S && p[W-1], p[W-1:TAG_BITS]});
                    wire signed [BITS:0] b = $signed({S && q[W-1], q[W-1:TAG_BITS]});
                    assign larger[i*W +: W] = b > a || (LAST != 0 && a == b) ? q : p;
                end else begin : single
                    assign larger[i*W +: W] = x[2*i*W +: W];
                end
            end
            fpgaflow_delay #(.BITS(NEXT*W), .DEPTH(LEVEL % 2 == 1 || NEXT == 1)) register (
                .clk(clk), .step(step), .x(larger), .y(kept));
            fpgaflow_best #(.COUNT(NEXT), .BITS(BITS), .SIGNED(SIGNED), .TAG_BITS(TAG_BITS), .LAST(LAST),
                            .LEVEL(LEVEL + 1)) rest (.clk(clk), .step(step), .x(kept), .y(y));
        end
    endgenerate
endmodule

`default_nettype wire
