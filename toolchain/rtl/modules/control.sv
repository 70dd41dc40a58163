// What makes a datapath a unit: one loop at initiation interval 1 over some frames, stalled as a whole.
`default_nettype none

// An iteration a clock cycle. It waits while a word that it reads is missing and while the word that leaves the pipeline
// has no place, and with it waits everything behind it: exactly the unit of the cycle simulator. A word is given STAGES
// steps behind the iteration that makes it.
//
// A unit reads `reads`, with `missing` where an input has no word, and makes a word where it `writes`; `ends` is the last
// iteration of a frame. Registers move where `step` is 1. Iterations without frames left are bubbles: `busy` is 0.
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
    output wire valid
);
    reg [FRAME_BITS-1:0] left;
    reg [STAGES-1:0] made;
    wire starved = busy && missing;

    assign busy = left != 0;
    assign valid = made[STAGES-1] && !starved;
    assign step = !starved && (ready || !made[STAGES-1]);

    always @(posedge clk) begin
        if (reset) left <= 0;
        else if (start) left <= frames;
        else if (step && busy && ends) left <= left - 1'b1;
    end
    generate
        if (STAGES == 1) begin : single
            always @(posedge clk) if (reset) made <= 0; else if (step) made <= busy && writes;
        end else begin : several
            always @(posedge clk) if (reset) made <= 0; else if (step) made <= {made[STAGES-2:0], busy && writes};
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
