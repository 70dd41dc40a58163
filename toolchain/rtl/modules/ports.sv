// Words of 128 bits of memory to and from streams; every frame starts at a new word.
`default_nettype none

// GROUPS words of LANES * BITS bits a frame out of words of 128 bits, the first one lowest.
module fpgaflow_unpack #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16,
    parameter GROUPS = 1,
    parameter LANES = 1,
    parameter BITS = 1
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [127:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [LANES*BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam GROUP = LANES * BITS, PLACES = 128 / GROUP;
    reg [127:0] word;
    wire step, works, last;
    wire [(PLACES > 1 ? $clog2(PLACES) : 1)-1:0] at;
    wire reads = at == 0;
    assign in_ready = works && reads;
    assign out_data = word[GROUP-1:0];
    fpgaflow_counter #(.N(PLACES)) place (
        .clk(clk), .reset(start || (works && last)), .count(works), .at(at), .last(), .ends());
    fpgaflow_counter #(.N(GROUPS)) group (.clk(clk), .reset(start), .count(works), .at(), .last(last), .ends());
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(reads && !in_valid), .writes(1'b1),
        .ends(last), .ready(out_ready), .busy(busy), .step(step), .works(works), .valid(out_valid));
    always @(posedge clk) if (works) word <= reads ? in_data : word >> GROUP;
endmodule

// The way back. What a frame leaves of its last word is 0. A word leaves as soon as it is whole: nothing behind it has to
// come, since nothing behind it is computed.
module fpgaflow_pack #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16,
    parameter GROUPS = 1,
    parameter LANES = 1,
    parameter BITS = 1
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [LANES*BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [127:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam GROUP = LANES * BITS, PLACES = 128 / GROUP, USED = PLACES * GROUP;
    localparam WORDS = (GROUPS + PLACES - 1) / PLACES, MISSING = WORDS * PLACES - GROUPS;
    reg [FRAME_BITS-1:0] left;
    reg [USED-1:0] word;
    reg part_only, made;
    wire full, last;
    assign busy = left != 0;
    wire step = left != 0 && in_valid && (out_ready || !made);
    assign in_ready = left != 0 && (out_ready || !made);
    assign out_valid = made;
    assign out_data = part_only ? word >> MISSING * GROUP : word;
    fpgaflow_counter #(.N(PLACES)) place (
        .clk(clk), .reset(start || (step && last)), .count(step), .at(), .last(full), .ends());
    fpgaflow_counter #(.N(GROUPS)) group (.clk(clk), .reset(start), .count(step), .at(), .last(last), .ends());
    generate
        if (PLACES == 1) begin : whole
            always @(posedge clk) if (step) word <= in_data;
        end else begin : parts
            always @(posedge clk) if (step) word <= {in_data, word[USED-1:GROUP]};
        end
    endgenerate
    always @(posedge clk) begin
        if (reset) begin
            left <= 0;
            made <= 1'b0;
        end else begin
            if (start) left <= frames;
            else if (step && last) left <= left - 1'b1;
            if (step || out_ready) made <= step && (full || last);
        end
        if (step) part_only <= last;
    end
endmodule

`default_nettype wire
