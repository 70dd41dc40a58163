// Sliding windows over rows in a ring of memory that runs on across frames.
`default_nettype none

// When the unit works: the rows of the first window are read, then a phase for every output row follows, in which it
// leaves while the rows that the next one needs come in. `emits` in the first EMIT iterations of a phase; `top` is the first
// row under the kernel, `slot` where it is in the ring, or would be.
module fpgaflow_window_phases #(
    parameter STAGES = 3,
    parameter FRAME_BITS = 16,
    parameter HEIGHT = 1,
    parameter ROW_WORDS = 1,
    parameter OUT_HEIGHT = 1,
    parameter SPAN_H = 1,
    parameter STRIDE_H = 1,
    parameter PAD_TOP = 0,
    parameter ROWS = 1,
    parameter EMIT = 1,
    parameter TOP_BITS = 1,
    parameter SLOT_BITS = ROWS > 1 ? $clog2(ROWS) : 1
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire in_valid,
    output wire in_ready,
    input wire writes,
    output wire out_valid,
    input wire out_ready,
    output wire step,
    output wire emits,
    output wire ends,
    output reg signed [TOP_BITS-1:0] top,
    output reg [SLOT_BITS-1:0] slot
);
    localparam BEFORE = SPAN_H - PAD_TOP, PROLOGUE = BEFORE > 0 ? BEFORE : 0;
    localparam LAST_STEP = HEIGHT - STRIDE_H * (OUT_HEIGHT - 1);
    localparam READS = STRIDE_H * ROW_WORDS, LAST_READS = LAST_STEP > 0 ? LAST_STEP * ROW_WORDS : 0;
    localparam USUAL = EMIT > READS ? EMIT : READS, FINAL = EMIT > LAST_READS ? EMIT : LAST_READS;
    localparam LONGEST = USUAL > FINAL ? USUAL : FINAL, CYCLE_BITS = $clog2(LONGEST + 1);
    localparam ROW_BITS = $clog2(HEIGHT + 1), FILL_BITS = PROLOGUE > 0 ? $clog2(PROLOGUE + 1) : 1;
    localparam FIRST_SLOT = ((-PAD_TOP) % ROWS + ROWS) % ROWS;
    localparam STEP_SLOTS = STRIDE_H % ROWS, LAST_SLOTS = (LAST_STEP % ROWS + ROWS) % ROWS;

    reg [FRAME_BITS-1:0] unread;  // frames that are not read to their end
    reg [FILL_BITS-1:0] filling;  // rows remaining the first phase
    reg [CYCLE_BITS-1:0] cycle;
    reg [ROW_BITS-1:0] due;  // rows of this frame that are still to be read
    wire count, last, row_last, row_ends, frame_last, frame_ends;
    wire running = filling == 0;
    wire [CYCLE_BITS-1:0] length = last ? FINAL - 1 : USUAL - 1;
    wire wanted = running ? cycle < (last ? LAST_READS : READS) && due != 0 : 1'b1;
    wire reads = wanted && unread != 0;
    assign in_ready = count && reads;
    assign emits = count && running && cycle < EMIT;
    assign ends = count && running && cycle == length;

    fpgaflow_counter #(.N(ROW_WORDS)) word (
        .clk(clk), .reset(start), .count(in_ready), .at(), .last(row_last), .ends(row_ends));
    fpgaflow_counter #(.N(HEIGHT)) row (
        .clk(clk), .reset(start), .count(row_ends), .at(), .last(frame_last), .ends(frame_ends));
    fpgaflow_counter #(.N(OUT_HEIGHT)) phase (
        .clk(clk), .reset(start), .count(ends), .at(), .last(last), .ends());
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(reads && !in_valid),
        .writes(emits && writes), .ends(ends && last), .ready(out_ready), .busy(busy), .step(step),
        .works(count), .valid(out_valid));

    wire [SLOT_BITS:0] next_slot = {1'b0, slot} + (last ? LAST_SLOTS : STEP_SLOTS);
    wire [SLOT_BITS:0] wrapped_slot = next_slot >= ROWS ? next_slot - ROWS : next_slot;
    wire end_of_reads = frame_ends && unread == 1;
    always @(posedge clk) begin
        if (start) begin
            unread <= frames;
            filling <= PROLOGUE;
            cycle <= 0;
            due <= HEIGHT;
            top <= -PAD_TOP;
            slot <= FIRST_SLOT;
        end else if (count) begin
            if (frame_ends) unread <= unread - 1'b1;
            if (!running) begin
                if (row_ends) filling <= end_of_reads ? 0 : filling - 1'b1;
            end else begin
                cycle <= ends ? 0 : cycle + 1'b1;
                if (ends && last) due <= HEIGHT;
                else if (row_ends) due <= due - 1'b1;
                if (ends) begin
                    top <= last ? -PAD_TOP : top + STRIDE_H;
                    slot <= wrapped_slot[SLOT_BITS-1:0];
                end
            end
        end
    end
endmodule

// One tap of LANES channels a cycle.
module fpgaflow_window_serial #(
    parameter STAGES = 3,
    parameter FRAME_BITS = 16,
    parameter HEIGHT = 1,
    parameter WIDTH = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter OUT_HEIGHT = 1,
    parameter OUT_WIDTH = 1,
    parameter KERNEL_H = 1,
    parameter KERNEL_W = 1,
    parameter STRIDE_H = 1,
    parameter STRIDE_W = 1,
    parameter DILATION_H = 1,
    parameter DILATION_W = 1,
    parameter PAD_TOP = 0,
    parameter PAD_LEFT = 0,
    parameter signed [63:0] PAD_VALUE = 0,
    parameter BITS = 1,
    parameter SIGNED = 0,
    parameter ROWS_STYLE = ""
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
    localparam SPAN_H = (KERNEL_H - 1) * DILATION_H + 1, SPAN_W = (KERNEL_W - 1) * DILATION_W + 1;
    localparam BLOCKS = CHANNELS / LANES, ROW_WORDS = WIDTH * BLOCKS;
    localparam REST = HEIGHT - STRIDE_H * OUT_HEIGHT, ROWS = SPAN_H + STRIDE_H + (REST > 0 ? REST : 0);
    localparam WORDS = ROWS * ROW_WORDS, AT_BITS = WORDS > 1 ? $clog2(WORDS) : 1;
    localparam TOP_BITS = $clog2(HEIGHT + SPAN_H + PAD_TOP + STRIDE_H + 1) + 1;
    localparam COLUMN_BITS = $clog2(WIDTH + SPAN_W + PAD_LEFT + STRIDE_W + 1) + 1;
    localparam PLACE_BITS = $clog2((WIDTH + SPAN_W + PAD_LEFT + STRIDE_W + 1) * BLOCKS + 1) + 1;
    localparam SLOT_BITS = ROWS > 1 ? $clog2(ROWS) : 1;
    wire step, emits;
    wire signed [TOP_BITS-1:0] top;
    wire [SLOT_BITS-1:0] slot;
    fpgaflow_window_phases #(
        .STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .HEIGHT(HEIGHT), .ROW_WORDS(ROW_WORDS), .OUT_HEIGHT(OUT_HEIGHT),
        .SPAN_H(SPAN_H), .STRIDE_H(STRIDE_H), .PAD_TOP(PAD_TOP), .ROWS(ROWS),
        .EMIT(OUT_WIDTH*BLOCKS*KERNEL_H*KERNEL_W), .TOP_BITS(TOP_BITS)) phases (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .busy(busy), .in_valid(in_valid), .in_ready(in_ready),
        .writes(1'b1), .out_valid(out_valid), .out_ready(out_ready), .step(step), .emits(emits), .ends(), .top(top),
        .slot(slot));

    // the word to write
    wire [AT_BITS-1:0] write_at;
    fpgaflow_counter #(.N(WORDS)) writer (
        .clk(clk), .reset(start), .count(in_ready), .at(write_at), .last(), .ends());

    // the word to read: taps, blocks and columns in turn
    wire kw_last, kw_ends, kh_last, kh_ends, block_last, block_ends, x_last, x_ends;
    fpgaflow_counter #(.N(KERNEL_W)) kw (
        .clk(clk), .reset(start), .count(emits), .at(), .last(kw_last), .ends(kw_ends));
    fpgaflow_counter #(.N(KERNEL_H)) kh (
        .clk(clk), .reset(start), .count(kw_ends), .at(), .last(kh_last), .ends(kh_ends));
    fpgaflow_counter #(.N(BLOCKS)) block (
        .clk(clk), .reset(start), .count(kh_ends), .at(), .last(block_last), .ends(block_ends));
    fpgaflow_counter #(.N(OUT_WIDTH)) x (
        .clk(clk), .reset(start), .count(block_ends), .at(), .last(x_last), .ends(x_ends));

    localparam BACK = -(KERNEL_W - 1) * DILATION_W, ON = BACK + STRIDE_W;
    localparam NEXT = ON * BLOCKS - (BLOCKS - 1);
    reg signed [COLUMN_BITS-1:0] column;  // of the map
    reg signed [PLACE_BITS-1:0] place;  // of the word in its row
    reg signed [TOP_BITS-1:0] below;  // rows from the first one under the kernel
    wire signed [COLUMN_BITS-1:0] columns = !kw_last ? DILATION_W : !(kh_last && block_last) ? BACK : ON;
    wire signed [PLACE_BITS-1:0] places =
        !kw_last ? DILATION_W * BLOCKS : !kh_last ? BACK * BLOCKS : !block_last ? BACK * BLOCKS + 1 : NEXT;
    always @(posedge clk) begin
        if (start || x_ends) begin
            column <= -PAD_LEFT;
            place <= -PAD_LEFT * BLOCKS;
            below <= 0;
        end else if (emits) begin
            column <= column + columns;
            place <= place + places;
            if (kw_last) below <= kh_last ? 0 : below + DILATION_H;
        end
    end
    wire signed [TOP_BITS-1:0] row = top + below;
    wire [TOP_BITS:0] distance = {1'b0, below} + slot;
    wire [TOP_BITS:0] from = distance >= ROWS ? distance - ROWS : distance;
    wire [AT_BITS-1:0] first = from * ROW_WORDS;
    wire signed [AT_BITS+PLACE_BITS-1:0] wide_place = place;
    reg [AT_BITS-1:0] read_at;
    reg in_map, in_map_2;
    reg [LANES*BITS-1:0] result;
    wire [LANES*BITS-1:0] held;
    assign out_data = result;
    fpgaflow_ram #(.DEPTH(WORDS), .WIDTH(LANES*BITS), .STYLE(ROWS_STYLE)) rows (
        .clk(clk), .write(in_ready), .write_at(write_at), .written(in_data), .step(step), .read_at(read_at),
        .word(held));
    always @(posedge clk) if (step) begin
        read_at <= first + wide_place[AT_BITS-1:0];
        in_map <= row >= 0 && row < HEIGHT && column >= 0 && column < WIDTH;
        in_map_2 <= in_map;
        result <= in_map_2 ? held : {LANES{PAD_VALUE[BITS-1:0]}};
    end
endmodule

// All taps of LANES channels at once: columns of the padded map are shifted in, one a cycle, and a word leaves where the
// window meets the stride.
module fpgaflow_window_parallel #(
    parameter STAGES = 3,
    parameter FRAME_BITS = 16,
    parameter HEIGHT = 1,
    parameter WIDTH = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter OUT_HEIGHT = 1,
    parameter OUT_WIDTH = 1,
    parameter KERNEL_H = 1,
    parameter KERNEL_W = 1,
    parameter STRIDE_H = 1,
    parameter STRIDE_W = 1,
    parameter DILATION_H = 1,
    parameter DILATION_W = 1,
    parameter PAD_TOP = 0,
    parameter PAD_LEFT = 0,
    parameter signed [63:0] PAD_VALUE = 0,
    parameter BITS = 1,
    parameter SIGNED = 0,
    parameter ROWS_STYLE = ""
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [LANES*BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [LANES*KERNEL_H*KERNEL_W*BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam SPAN_H = (KERNEL_H - 1) * DILATION_H + 1, SPAN_W = (KERNEL_W - 1) * DILATION_W + 1;
    localparam BLOCKS = CHANNELS / LANES, ROW_WORDS = WIDTH * BLOCKS;
    localparam REST = HEIGHT - STRIDE_H * OUT_HEIGHT, ROWS = SPAN_H + STRIDE_H + (REST > 0 ? REST : 0);
    localparam AT_BITS = ROW_WORDS > 1 ? $clog2(ROW_WORDS) : 1;
    localparam TOP_BITS = $clog2(HEIGHT + SPAN_H + PAD_TOP + STRIDE_H + 1) + 1;
    localparam COLUMNS = (OUT_WIDTH - 1) * STRIDE_W + SPAN_W;
    localparam COLUMN_BITS = $clog2(COLUMNS + PAD_LEFT + 1) + 1;
    localparam SLOT_BITS = ROWS > 1 ? $clog2(ROWS) : 1;
    localparam UNTIL_BITS = $clog2(SPAN_W + STRIDE_W + 1);
    localparam W = LANES * BITS;
    wire step, emits, block_last, block_ends, phase_ends, slot_last;
    wire signed [TOP_BITS-1:0] top;
    wire [SLOT_BITS-1:0] slot;
    reg [UNTIL_BITS-1:0] remaining;  // columns remaining the next word
    fpgaflow_window_phases #(
        .STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .HEIGHT(HEIGHT), .ROW_WORDS(ROW_WORDS), .OUT_HEIGHT(OUT_HEIGHT),
        .SPAN_H(SPAN_H), .STRIDE_H(STRIDE_H), .PAD_TOP(PAD_TOP), .ROWS(ROWS), .EMIT(COLUMNS*BLOCKS),
        .TOP_BITS(TOP_BITS)) phases (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .busy(busy), .in_valid(in_valid), .in_ready(in_ready),
        .writes(remaining == 0), .out_valid(out_valid), .out_ready(out_ready), .step(step), .emits(emits),
        .ends(phase_ends), .top(top), .slot(slot));

    // the word to write, and the bank of its row
    wire [AT_BITS-1:0] write_at;
    wire [SLOT_BITS-1:0] write_slot;
    wire row_ends;
    fpgaflow_counter #(.N(ROW_WORDS)) writer (
        .clk(clk), .reset(start), .count(in_ready), .at(write_at), .last(), .ends(row_ends));
    fpgaflow_counter #(.N(ROWS)) write_row (
        .clk(clk), .reset(start), .count(row_ends), .at(write_slot), .last(slot_last), .ends());

    // the column to read
    reg signed [COLUMN_BITS-1:0] column;
    reg [AT_BITS-1:0] place;
    wire in_map = column >= 0 && column < WIDTH;
    fpgaflow_counter #(.N(BLOCKS)) block (
        .clk(clk), .reset(start), .count(emits), .at(), .last(block_last), .ends(block_ends));
    always @(posedge clk) begin
        if (start || phase_ends) begin
            column <= -PAD_LEFT;
            place <= 0;
            remaining <= SPAN_W - 1;
        end else if (emits) begin
            if (in_map) place <= place + 1'b1;
            if (block_last) begin
                column <= column + 1'b1;
                remaining <= remaining == 0 ? STRIDE_W - 1 : remaining - 1'b1;
            end
        end
    end

    wire [ROWS*W-1:0] held;
    reg [AT_BITS-1:0] read_at;
    reg emits_1, emits_2, emits_3;
    genvar r, h, c;
    generate
        for (r = 0; r < ROWS; r = r + 1) begin : bank
            fpgaflow_ram #(.DEPTH(ROW_WORDS), .WIDTH(W), .STYLE(ROWS_STYLE)) row (
                .clk(clk), .write(in_ready && write_slot == r), .write_at(write_at), .written(in_data), .step(step),
                .read_at(read_at), .word(held[r*W +: W]));
        end
    endgenerate
    always @(posedge clk) if (step) begin
        read_at <= place;
        emits_1 <= emits;
        emits_2 <= emits_1;
        emits_3 <= emits_2;
    end
    generate
        for (h = 0; h < KERNEL_H; h = h + 1) begin : tap_row
            wire signed [TOP_BITS-1:0] row = top + h * DILATION_H;
            wire [SLOT_BITS+1:0] distance = {2'b0, slot} + h * DILATION_H;
            wire [SLOT_BITS+1:0] wrapped = distance >= ROWS ? distance - ROWS : distance;
            reg [SLOT_BITS-1:0] from_1, from_2;
            reg valid_1, valid_2;
            reg [W-1:0] newest;
            always @(posedge clk) if (step) begin
                from_1 <= wrapped[SLOT_BITS-1:0];
                from_2 <= from_1;
                valid_1 <= in_map && row >= 0 && row < HEIGHT;
                valid_2 <= valid_1;
                newest <= valid_2 ? held[from_2*W +: W] : {LANES{PAD_VALUE[BITS-1:0]}};
            end
            wire [SPAN_W*W-1:0] line;
            assign line[(SPAN_W-1)*W +: W] = newest;
            for (c = SPAN_W - 1; c > 0; c = c - 1) begin : older
                fpgaflow_delay #(.BITS(W), .DEPTH(BLOCKS)) words (
                    .clk(clk), .step(step && emits_3), .x(line[c*W +: W]), .y(line[(c-1)*W +: W]));
            end
            for (c = 0; c < KERNEL_W; c = c + 1) begin : tap
                assign out_data[(h*KERNEL_W+c)*W +: W] = line[c*DILATION_W*W +: W];
            end
        end
    endgenerate
endmodule

`default_nettype wire
