// Units that pick positions of maps, order their channels, and exchange both.
`default_nettype none

// OUT_H rows and OUT_W columns, the first FIRST_H and FIRST_W, every STEP_H-th and STEP_W-th.
module fpgaflow_crop #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16,
    parameter HEIGHT = 1,
    parameter WIDTH = 1,
    parameter WORDS = 1,
    parameter FIRST_H = 0,
    parameter STEP_H = 1,
    parameter OUT_H = 1,
    parameter FIRST_W = 0,
    parameter STEP_W = 1,
    parameter OUT_W = 1,
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
    reg [LANES*BITS-1:0] word;
    wire step, works, word_last, word_ends, column_holds, column_last, column_ends, row_holds, row_last;
    assign in_ready = works;
    assign out_data = word;
    always @(posedge clk) if (step) word <= in_data;
    fpgaflow_counter #(.N(WORDS)) words (
        .clk(clk), .reset(start), .count(works), .at(), .last(word_last), .ends(word_ends));
    fpgaflow_kept #(.SIZE(WIDTH), .FIRST(FIRST_W), .STEP(STEP_W), .COUNT(OUT_W)) column (
        .clk(clk), .reset(start), .count(word_ends), .holds(column_holds), .last(column_last), .ends(column_ends));
    fpgaflow_kept #(.SIZE(HEIGHT), .FIRST(FIRST_H), .STEP(STEP_H), .COUNT(OUT_H)) row (
        .clk(clk), .reset(start), .count(column_ends), .holds(row_holds), .last(row_last), .ends());
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid), .writes(row_holds && column_holds),
        .ends(word_last && column_last && row_last), .ready(out_ready), .busy(busy), .step(step),
        .works(works), .valid(out_valid));
endmodule

// Runs through an axis of SIZE positions, of which every STEP-th from FIRST on is kept, COUNT of them: it `holds` those.
module fpgaflow_kept #(
    parameter SIZE = 1,
    parameter FIRST = 0,
    parameter STEP = 1,
    parameter COUNT = 1
) (
    input wire clk,
    input wire reset,
    input wire count,
    output wire holds,
    output wire last,
    output wire ends
);
    localparam BITS = SIZE > 1 ? $clog2(SIZE) : 1, MOST = FIRST > STEP ? FIRST : STEP, WAIT_BITS = $clog2(MOST + 1);
    wire [BITS-1:0] at;
    reg [WAIT_BITS-1:0] until_next;
    assign holds = until_next == 0 && at <= FIRST + (COUNT - 1) * STEP;
    fpgaflow_counter #(.N(SIZE)) position (
        .clk(clk), .reset(reset), .count(count), .at(at), .last(last), .ends(ends));
    always @(posedge clk) begin
        if (reset || ends) until_next <= FIRST;
        else if (count) until_next <= until_next == 0 ? STEP - 1 : until_next - 1'b1;
    end
endmodule

// The channels of every position in another order: wires.
module fpgaflow_permute #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter [32*LANES-1:0] ORDER = 0,
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
    reg [LANES*BITS-1:0] word;
    wire step, works, ends;
    assign in_ready = works;
    always @(posedge clk) if (step) word <= in_data;
    fpgaflow_counter #(.N(POSITIONS)) position (
        .clk(clk), .reset(start), .count(works), .at(), .last(ends), .ends());
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid), .writes(1'b1), .ends(ends),
        .ready(out_ready), .busy(busy), .step(step), .works(works), .valid(out_valid));
    genvar l;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            assign out_data[l*BITS +: BITS] = word[ORDER[32*l +: 32]*BITS +: BITS];
        end
    endgenerate
endmodule

// Positions and channels exchanged: a frame leaves while the next one comes in. Element (p, c) lies at word p / LANES_OUT *
// IN_BLOCKS + c / LANES_IN of memory (p % LANES_OUT, c % LANES_IN), in one of two halves.
module fpgaflow_transpose #(
    parameter STAGES = 3,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES_IN = 1,
    parameter LANES_OUT = 1,
    parameter BITS = 1,
    parameter SIGNED = 0,
    parameter HELD_STYLE = ""
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
    localparam IN_BLOCKS = CHANNELS / LANES_IN, OUT_BLOCKS = POSITIONS / LANES_OUT, HALF = IN_BLOCKS * OUT_BLOCKS;
    localparam READS = POSITIONS * IN_BLOCKS, WRITES = CHANNELS * OUT_BLOCKS, CYCLES = READS > WRITES ? READS : WRITES;
    localparam AT_BITS = $clog2(2 * HALF);
    localparam IB_BITS = IN_BLOCKS > 1 ? $clog2(IN_BLOCKS) : 1, OB_BITS = OUT_BLOCKS > 1 ? $clog2(OUT_BLOCKS) : 1;
    localparam IL_BITS = LANES_IN > 1 ? $clog2(LANES_IN) : 1, OL_BITS = LANES_OUT > 1 ? $clog2(LANES_OUT) : 1;
    reg filling;  // the first frame
    reg slot;  // the half that leaves
    reg more_in, more_out;  // the frame that comes in, the one that leaves, has more words
    reg [FRAME_BITS-1:0] unread;  // frames that are not read to their end
    wire [IB_BITS-1:0] in_block, out_row;
    wire [OL_BITS-1:0] in_lane;
    wire [OB_BITS-1:0] in_row, out_block;
    wire [IL_BITS-1:0] out_lane;
    wire step, count, in_block_ends, in_lane_ends, frame_read, out_block_ends, out_lane_ends, frame_left, cycle_last;
    wire reads = more_in && unread != 0, writes = more_out && !filling;
    assign in_ready = count && reads;
    fpgaflow_counter #(.N(IN_BLOCKS)) in_block_counter (
        .clk(clk), .reset(start), .count(in_ready), .at(in_block), .last(), .ends(in_block_ends));
    fpgaflow_counter #(.N(LANES_OUT)) in_lane_counter (
        .clk(clk), .reset(start), .count(in_block_ends), .at(in_lane), .last(), .ends(in_lane_ends));
    fpgaflow_counter #(.N(OUT_BLOCKS)) in_row_counter (
        .clk(clk), .reset(start), .count(in_lane_ends), .at(in_row), .last(), .ends(frame_read));
    fpgaflow_counter #(.N(OUT_BLOCKS)) out_block_counter (
        .clk(clk), .reset(start), .count(count && writes), .at(out_block), .last(), .ends(out_block_ends));
    fpgaflow_counter #(.N(LANES_IN)) out_lane_counter (
        .clk(clk), .reset(start), .count(out_block_ends), .at(out_lane), .last(), .ends(out_lane_ends));
    fpgaflow_counter #(.N(IN_BLOCKS)) out_row_counter (
        .clk(clk), .reset(start), .count(out_lane_ends), .at(out_row), .last(), .ends(frame_left));
    fpgaflow_counter #(.N(CYCLES)) cycle (
        .clk(clk), .reset(start), .count(count && !filling), .at(), .last(cycle_last), .ends());
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(reads && !in_valid), .writes(writes),
        .ends(!filling && cycle_last), .ready(out_ready), .busy(busy), .step(step), .works(count), .valid(out_valid));
    always @(posedge clk) begin
        if (start) begin
            filling <= 1'b1;
            slot <= 1'b1;
            more_in <= 1'b1;
            more_out <= 1'b1;
            unread <= frames;
        end else if (count) begin
            if (frame_read) unread <= unread - 1'b1;
            if (filling ? frame_read : cycle_last) begin
                filling <= 1'b0;
                slot <= !slot;
                more_in <= 1'b1;
                more_out <= 1'b1;
            end else begin
                if (frame_read) more_in <= 1'b0;
                if (frame_left) more_out <= 1'b0;
            end
        end
    end

    reg [AT_BITS-1:0] read_at;
    reg [IL_BITS-1:0] pick_1, pick_2;
    reg [LANES_OUT*BITS-1:0] result;
    wire [AT_BITS-1:0] write_at = (slot ? 0 : HALF) + in_row * IN_BLOCKS + in_block;
    wire [LANES_OUT*LANES_IN*BITS-1:0] held;
    assign out_data = result;
    genvar p, c;
    generate
        for (p = 0; p < LANES_OUT; p = p + 1) begin : position
            for (c = 0; c < LANES_IN; c = c + 1) begin : channel
                fpgaflow_ram #(.DEPTH(2*HALF), .WIDTH(BITS), .STYLE(HELD_STYLE)) bank (
                    .clk(clk), .write(in_ready && in_lane == p), .write_at(write_at),
                    .written(in_data[c*BITS +: BITS]), .step(step), .read_at(read_at),
                    .word(held[(p*LANES_IN+c)*BITS +: BITS]));
            end
        end
    endgenerate
    integer l;
    always @(posedge clk) if (step) begin
        read_at <= (slot ? HALF : 0) + out_block * IN_BLOCKS + out_row;
        pick_1 <= out_lane;
        pick_2 <= pick_1;
        for (l = 0; l < LANES_OUT; l = l + 1) result[l*BITS +: BITS] <= held[(l*LANES_IN+pick_2)*BITS +: BITS];
    end
endmodule

`default_nettype wire
