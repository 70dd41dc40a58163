// What makes a datapath a unit: one loop at initiation interval 1 over some frames, whose pipeline empties itself.
`default_nettype none

// The pipeline moves, and its registers with it, where `step` is 1: always but while the word at its end has no place. An
// iteration starts where `works` is 1: with every move but those in which a word that it reads is `missing`. Then a
// bubble moves through the registers, and what adds up must leave it out. A word is given STAGES moves behind the
// iteration that makes it. This is exactly the unit of the cycle simulator. An iteration makes a word where it `writes`;
// `ends` is the last one of a frame. `busy` is 0 where no frames are left.
module fpgaflow_control #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    input wire missing,
    input wire writes,
    input wire ends,
    input wire ready,
    output wire busy,
    output wire step,
    output wire works,
    output wire valid
);
    reg [FRAME_BITS-1:0] left;
    reg [STAGES-1:0] made;
    assign busy = left != 0;
    assign valid = made[STAGES-1];
    assign step = ready || !valid;
    assign works = step && busy && !missing;

    always @(posedge clk) begin
        if (reset) left <= 0;
        else if (start) left <= frames;
        else if (works && ends) left <= left - 1'b1;
    end
    generate
        if (STAGES == 1) begin : single
            always @(posedge clk) if (reset) made <= 0; else if (step) made <= works && writes;
        end else begin : several
            always @(posedge clk) if (reset) made <= 0; else if (step) made <= {made[STAGES-2:0], works && writes};
        end
    endgenerate
endmodule

// Counts from 0 to N - 1 where `count` is 1; `ends` with the last of them.
module fpgaflow_counter #(
    parameter N = 1,
    parameter BITS = N > 1 ? $clog2(N) : 1
) (
    input wire clk,
    input wire reset,
    input wire count,
    output wire [BITS-1:0] at,
    output wire last,
    output wire ends
);
    assign ends = last && count;
    generate
        if (N == 1) begin : fixed
            assign at = 0;
            assign last = 1'b1;
        end else begin : counting
            reg [BITS-1:0] now;
            assign at = now;
            assign last = now == N - 1;
            always @(posedge clk) begin
                if (reset) now <= 0;
                else if (count) now <= last ? {BITS{1'b0}} : now + 1'b1;
            end
        end
    endgenerate
endmodule

// A loop over OUTER times INNER iterations, as `fpgaflow_control` runs it: `inner` and `outer` count those that worked.
module fpgaflow_loop #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16,
    parameter INNER = 1,
    parameter OUTER = 1,
    parameter INNER_BITS = INNER > 1 ? $clog2(INNER) : 1,
    parameter OUTER_BITS = OUTER > 1 ? $clog2(OUTER) : 1
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    input wire missing,
    input wire writes,
    input wire ready,
    output wire busy,
    output wire step,
    output wire works,
    output wire valid,
    output wire [INNER_BITS-1:0] inner,
    output wire inner_last,
    output wire [OUTER_BITS-1:0] outer,
    output wire outer_last
);
    wire inner_ends;
    fpgaflow_counter #(.N(INNER)) inner_counter (
        .clk(clk), .reset(start), .count(works), .at(inner), .last(inner_last), .ends(inner_ends));
    fpgaflow_counter #(.N(OUTER)) outer_counter (
        .clk(clk), .reset(start), .count(inner_ends), .at(outer), .last(outer_last), .ends());
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(missing), .writes(writes),
        .ends(inner_last && outer_last), .ready(ready), .busy(busy), .step(step), .works(works), .valid(valid));
endmodule

// A word that moves through DEPTH registers, one each step.
module fpgaflow_delay #(
    parameter BITS = 1,
    parameter DEPTH = 1
) (
    input wire clk,
    input wire step,
    input wire [BITS-1:0] x,
    output wire [BITS-1:0] y
);
    generate
        if (DEPTH == 0) begin : wires
            assign y = x;
        end else if (DEPTH == 1) begin : register
            reg [BITS-1:0] kept;
            assign y = kept;
            always @(posedge clk) if (step) kept <= x;
        end else begin : shift_register
            reg [DEPTH*BITS-1:0] kept;
            assign y = kept[(DEPTH-1)*BITS +: BITS];
            always @(posedge clk) if (step) kept <= {kept[(DEPTH-1)*BITS-1:0], x};
        end
    endgenerate
endmodule

`default_nettype wire
