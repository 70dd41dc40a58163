// The accelerator's ports: masters that read and write memory in bursts, and the registers of a call.
`default_nettype none

// WORDS words of 128 bits a frame from `address` on, as a stream. Bursts have at most BURST beats and do not cross 4 KB; one
// is asked for where there is room for all of it, so R never waits.
module fpgaflow_read_master #(
    parameter WORDS = 1,
    parameter BURST = 64,
    parameter STYLE = "bram",
    parameter ID = 0
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [31:0] frames,
    input wire [63:0] address,
    output wire [127:0] out_data,
    output wire out_valid,
    input wire out_ready,
    output reg ar_valid,
    input wire ar_ready,
    output reg [63:0] ar_address,
    output reg [7:0] ar_length,
    input wire [127:0] r_data,
    input wire r_valid,
    output wire r_ready
);
    localparam DEPTH = 2 * BURST, ROOM_BITS = $clog2(DEPTH + 1), LEFT_BITS = 32 + $clog2(WORDS + 1);
    localparam [LEFT_BITS-1:0] A_FRAME = WORDS;
    reg [59:0] beat;
    reg [LEFT_BITS-1:0] left;  // words that are not asked for
    reg [ROOM_BITS-1:0] room;
    wire [8:0] length;
    wire asks = left != 0 && room >= length && (!ar_valid || ar_ready);
    wire pop = out_valid && out_ready;
    fpgaflow_burst #(.LEFT_BITS(LEFT_BITS), .BURST(BURST)) burst (.beat(beat[7:0]), .left(left), .length(length));
    fpgaflow_fifo #(.DEPTH(DEPTH), .WIDTH(128), .STYLE(STYLE), .ID(ID)) words (
        .clk(clk), .reset(reset), .in_data(r_data), .in_valid(r_valid), .in_ready(r_ready),
        .out_data(out_data), .out_valid(out_valid), .out_ready(out_ready));
    always @(posedge clk) begin
        if (reset) begin
            ar_valid <= 1'b0;
            left <= 0;
            room <= DEPTH;
        end else begin
            if (start) left <= frames * A_FRAME;
            else if (asks) left <= left - length;
            if (asks || ar_ready) ar_valid <= asks;
            room <= room - (asks ? length : 9'd0) + pop;
        end
        if (start) beat <= address[63:4];
        else if (asks) beat <= beat + length;
        if (asks) begin
            ar_address <= {beat, 4'd0};
            ar_length <= length - 1'b1;
        end
    end
endmodule

// The way back. A burst is announced when all its words are there: what waits for other ports keeps no port waiting.
module fpgaflow_write_master #(
    parameter WORDS = 1,
    parameter BURST = 64,
    parameter STYLE = "bram",
    parameter ID = 0
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [31:0] frames,
    input wire [63:0] address,
    output wire busy,
    input wire [127:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output reg aw_valid,
    input wire aw_ready,
    output reg [63:0] aw_address,
    output reg [7:0] aw_length,
    output wire [127:0] w_data,
    output wire w_last,
    output wire w_valid,
    input wire w_ready,
    input wire b_valid
);
    localparam DEPTH = 2 * BURST, HELD_BITS = $clog2(DEPTH + 1), LEFT_BITS = 32 + $clog2(WORDS + 1);
    localparam [LEFT_BITS-1:0] A_FRAME = WORDS;
    reg [59:0] beat;
    reg [LEFT_BITS-1:0] left, unanswered;  // words that are not announced, bursts that are not answered
    reg [HELD_BITS-1:0] held;  // words that came in and are not announced
    reg [8:0] beats;  // of the burst that is sent
    wire [8:0] length;
    wire sent = w_valid && w_ready;
    wire asks = left != 0 && held >= length && (!aw_valid || aw_ready) && (beats == 0 || (sent && w_last));
    wire push = in_valid && in_ready;
    assign busy = left != 0 || unanswered != 0;
    assign w_last = beats == 1;
    fpgaflow_burst #(.LEFT_BITS(LEFT_BITS), .BURST(BURST)) burst (.beat(beat[7:0]), .left(left), .length(length));
    wire there;
    assign w_valid = there && beats != 0;
    fpgaflow_fifo #(.DEPTH(DEPTH), .WIDTH(128), .STYLE(STYLE), .ID(ID)) words (
        .clk(clk), .reset(reset), .in_data(in_data), .in_valid(in_valid), .in_ready(in_ready),
        .out_data(w_data), .out_valid(there), .out_ready(w_ready && beats != 0));
    always @(posedge clk) begin
        if (reset) begin
            aw_valid <= 1'b0;
            left <= 0;
            unanswered <= 0;
            held <= 0;
            beats <= 0;
        end else begin
            if (start) left <= frames * A_FRAME;
            else if (asks) left <= left - length;
            if (asks || aw_ready) aw_valid <= asks;
            if (asks) beats <= length;
            else if (sent) beats <= beats - 1'b1;
            held <= held - (asks ? length : 9'd0) + push;
            if (asks != b_valid) unanswered <= asks ? unanswered + 1'b1 : unanswered - 1'b1;
        end
        if (start) beat <= address[63:4];
        else if (asks) beat <= beat + length;
        if (asks) begin
            aw_address <= {beat, 4'd0};
            aw_length <= length - 1'b1;
        end
    end
endmodule

// Beats of the next burst: at most BURST, those that are left, those up to the next 4 KB.
module fpgaflow_burst #(
    parameter LEFT_BITS = 48,
    parameter BURST = 64
) (
    input wire [7:0] beat,
    input wire [LEFT_BITS-1:0] left,
    output wire [8:0] length
);
    wire [8:0] page = 9'd256 - beat;
    wire [8:0] most = page < BURST ? page : BURST;
    assign length = left < most ? left[8:0] : most;
endmodule

// The registers that Vitis HLS gives a function with POINTERS pointers and a count (AMD UG1399), and the calls: `begins`
// starts the masters, `done` ends the call. A call of no frames or less ends at once.
module fpgaflow_registers #(
    parameter POINTERS = 2,
    parameter ADDRESS_BITS = 6
) (
    input wire clk,
    input wire reset,
    input wire aw_valid,
    output wire aw_ready,
    input wire [ADDRESS_BITS-1:0] aw_address,
    input wire w_valid,
    output wire w_ready,
    input wire [31:0] w_data,
    input wire [3:0] w_strobe,
    output reg b_valid,
    input wire b_ready,
    input wire ar_valid,
    output wire ar_ready,
    input wire [ADDRESS_BITS-1:0] ar_address,
    output reg r_valid,
    input wire r_ready,
    output reg [31:0] r_data,
    output wire interrupt,
    output reg begins,
    input wire done,
    output wire [64*POINTERS-1:0] addresses,
    output wire [31:0] count
);
    // A pointer has two words and one that is reserved, the count one, from 0x10 on.
    localparam WORDS = 3 * POINTERS + 1, WORD_BITS = ADDRESS_BITS - 2;
    reg have_address, have_data, start, running, is_done, is_ready, again, enable;
    reg [1:0] enabled, pending;
    reg [ADDRESS_BITS-1:0] at;
    reg [31:0] data;
    reg [3:0] strobe;
    reg [32*WORDS-1:0] arguments;
    wire write = have_address && have_data && !b_valid;
    wire read = ar_valid && ar_ready;
    wire [31:0] mask = {{8{strobe[3]}}, {8{strobe[2]}}, {8{strobe[1]}}, {8{strobe[0]}}};
    wire [WORD_BITS-1:0] word = at[ADDRESS_BITS-1:2], read_word = ar_address[ADDRESS_BITS-1:2];
    wire controls = write && word == 0 && strobe[0];
    wire idle = !start && !running && !begins;
    assign aw_ready = !have_address;
    assign w_ready = !have_data;
    assign ar_ready = !r_valid;
    assign interrupt = enable && pending != 0;
    assign count = arguments[32*WORDS-1] ? 32'd0 : arguments[32*(WORDS-1) +: 32];  // a signed number, as in the C++
    always @(posedge clk) begin
        if (reset) begin
            {have_address, have_data, b_valid, r_valid} <= 4'd0;
            {begins, start, running, is_done, is_ready, again, enable} <= 7'd0;
            {enabled, pending} <= 4'd0;
        end else begin
            if (aw_valid && aw_ready) have_address <= 1'b1;
            else if (write) have_address <= 1'b0;
            if (w_valid && w_ready) have_data <= 1'b1;
            else if (write) have_data <= 1'b0;
            if (write || b_ready) b_valid <= write;
            if (read || r_ready) r_valid <= read;

            begins <= start && !running && !begins;
            running <= begins || (running && !done);
            if (running && done) {is_done, is_ready} <= 2'b11;
            else if (read && read_word == 0) {is_done, is_ready} <= 2'b00;
            if (controls && data[0]) start <= 1'b1;
            else if (running && done) start <= again;
            if (controls) again <= data[7];
            if (write && word == 1 && strobe[0]) enable <= data[0];
            if (write && word == 2 && strobe[0]) enabled <= data[1:0];
            pending <= (pending ^ (write && word == 3 && strobe[0] ? data[1:0] : 2'd0)) |
                       (running && done ? enabled : 2'd0);
        end
        if (aw_valid && aw_ready) at <= aw_address;
        if (w_valid && w_ready) {data, strobe} <= {w_data, w_strobe};
    end

    integer n;
    always @(posedge clk) begin
        if (reset) arguments <= 0;
        else if (write) begin
            for (n = 0; n < WORDS; n = n + 1)
                if (word == n + 4) arguments[32*n +: 32] <= (arguments[32*n +: 32] & ~mask) | (data & mask);
        end
    end
    always @(posedge clk) if (read) begin
        r_data <= 0;
        case (read_word)
            0: r_data <= {22'd0, interrupt, 1'b0, again, 3'd0, is_ready, idle, is_done, start};
            1: r_data <= {31'd0, enable};
            2: r_data <= {30'd0, enabled};
            3: r_data <= {30'd0, pending};
            default: for (n = 0; n < WORDS; n = n + 1)
                if (read_word == n + 4 && n % 3 != 2) r_data <= arguments[32*n +: 32];
        endcase
    end
    genvar p;
    generate
        for (p = 0; p < POINTERS; p = p + 1) begin : pointer
            assign addresses[64*p +: 64] = arguments[96*p +: 64];
        end
    endgenerate
endmodule

`default_nettype wire
