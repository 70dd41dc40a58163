// Units that take a word a cycle and keep no map: sums and products of two streams, copies, words of another width.
`default_nettype none

// y = FIRST * a + SECOND * b.
module fpgaflow_add #(
    parameter STAGES = 3,
    parameter FRAME_BITS = 16,
    parameter WORDS = 1,
    parameter LANES = 1,
    parameter signed [63:0] FIRST = 1,
    parameter signed [63:0] SECOND = 1,
    parameter A_BITS = 1,
    parameter A_SIGNED = 0,
    parameter B_BITS = 1,
    parameter B_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [LANES*(A_BITS+B_BITS)-1:0] in_data,
    input wire [1:0] in_valid,
    output wire [1:0] in_ready,
    output wire [LANES*OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam SA = A_SIGNED != 0, SB = B_SIGNED != 0;
    localparam signed [OUT_BITS-1:0] M = FIRST[OUT_BITS-1:0], N = SECOND[OUT_BITS-1:0];
    wire step, works, ends;
    assign in_ready = {2{works}};
    fpgaflow_counter #(.N(WORDS)) word (.clk(clk), .reset(start), .count(works), .at(), .last(ends), .ends());
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!(&in_valid)), .writes(1'b1), .ends(ends),
        .ready(out_ready), .busy(busy), .step(step), .works(works), .valid(out_valid));

    genvar l;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            reg [A_BITS-1:0] a;
            reg [B_BITS-1:0] b;
            reg signed [OUT_BITS-1:0] left, right, sum;
            wire signed [OUT_BITS:0] wide_a = $signed({SA && a[A_BITS-1], a});
            wire signed [OUT_BITS:0] wide_b = $signed({SB && b[B_BITS-1], b});
            always @(posedge clk) if (step) begin
                a <= in_data[l*A_BITS +: A_BITS];
                b <= in_data[LANES*A_BITS + l*B_BITS +: B_BITS];
                left <= $signed(wide_a[OUT_BITS-1:0]) * M;
                right <= $signed(wide_b[OUT_BITS-1:0]) * N;
                sum <= left + right;
            end
            assign out_data[l*OUT_BITS +: OUT_BITS] = sum;
        end
    endgenerate
endmodule

// y = ((first * a) << FIRST_SHIFT) + ((second * b) << SECOND_SHIFT), factors a channel or for all.
module fpgaflow_scaled_add #(
    parameter STAGES = 3,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter FIRST_DSP = 0,
    parameter SECOND_DSP = 0,
    parameter FIRST_SHIFT = 0,
    parameter SECOND_SHIFT = 0,
    parameter FIRST_BLOCKS = 1,
    parameter FIRST_LANES = 1,
    parameter SECOND_BLOCKS = 1,
    parameter SECOND_LANES = 1,
    parameter A_BITS = 1,
    parameter A_SIGNED = 0,
    parameter B_BITS = 1,
    parameter B_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter FIRST_PRODUCT_BITS = 1,
    parameter FIRST_PRODUCT_SIGNED = 0,
    parameter SECOND_PRODUCT_BITS = 1,
    parameter SECOND_PRODUCT_SIGNED = 0,
    parameter FIRST_BITS = 1,
    parameter FIRST_SIGNED = 0,
    parameter FIRST_FILE = "",
    parameter FIRST_STYLE = "",
    parameter SECOND_BITS = 1,
    parameter SECOND_SIGNED = 0,
    parameter SECOND_FILE = "",
    parameter SECOND_STYLE = ""
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [LANES*(A_BITS+B_BITS)-1:0] in_data,
    input wire [1:0] in_valid,
    output wire [1:0] in_ready,
    output wire [LANES*OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam BLOCKS = CHANNELS / LANES, BITS = BLOCKS > 1 ? $clog2(BLOCKS) : 1;
    wire step, works;
    wire [BITS-1:0] block;
    reg [LANES*(A_BITS+B_BITS)-1:0] word;
    assign in_ready = {2{works}};
    always @(posedge clk) if (step) word <= in_data;
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(BLOCKS), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!(&in_valid)), .writes(1'b1),
        .ready(out_ready), .busy(busy), .step(step), .works(works), .valid(out_valid), .inner(block), .inner_last(),
        .outer(), .outer_last());
    genvar l;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            localparam [31:0] NF = FIRST_LANES == 1 ? 0 : l, NS = SECOND_LANES == 1 ? 0 : l;
            wire [FIRST_BITS-1:0] first;
            wire [SECOND_BITS-1:0] second;
            fpgaflow_bank #(.DEPTH(FIRST_BLOCKS), .WIDTH(FIRST_BITS), .FILE(FIRST_FILE), .NUMBER(NF),
                            .STYLE(FIRST_STYLE)) first_bank (.clk(clk), .step(step), .at(block), .word(first));
            fpgaflow_bank #(.DEPTH(SECOND_BLOCKS), .WIDTH(SECOND_BITS), .FILE(SECOND_FILE), .NUMBER(NS),
                            .STYLE(SECOND_STYLE)) second_bank (.clk(clk), .step(step), .at(block), .word(second));
            wire signed [FIRST_PRODUCT_BITS:0] p;
            wire signed [SECOND_PRODUCT_BITS:0] q;
            fpgaflow_product #(.A_BITS(FIRST_BITS), .A_SIGNED(FIRST_SIGNED), .B_BITS(A_BITS), .B_SIGNED(A_SIGNED),
                               .OUT_BITS(FIRST_PRODUCT_BITS), .OUT_SIGNED(FIRST_PRODUCT_SIGNED), .DSP(FIRST_DSP)) left (
                .clk(clk), .step(step), .a(first), .b(word[l*A_BITS +: A_BITS]), .y(p));
            fpgaflow_product #(.A_BITS(SECOND_BITS), .A_SIGNED(SECOND_SIGNED), .B_BITS(B_BITS), .B_SIGNED(B_SIGNED),
                               .OUT_BITS(SECOND_PRODUCT_BITS), .OUT_SIGNED(SECOND_PRODUCT_SIGNED),
                               .DSP(SECOND_DSP)) right (
                .clk(clk), .step(step), .a(second), .b(word[LANES*A_BITS + l*B_BITS +: B_BITS]), .y(q));
            reg signed [OUT_BITS-1:0] sum;
            wire signed [OUT_BITS-1:0] a = p <<< FIRST_SHIFT, b = q <<< SECOND_SHIFT;
            always @(posedge clk) if (step) sum <= a + b;
            assign out_data[l*OUT_BITS +: OUT_BITS] = sum;
        end
    endgenerate
endmodule

// y = a * b, word by word.
module fpgaflow_multiply #(
    parameter STAGES = 2,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter DSP = 0,
    parameter A_BITS = 1,
    parameter A_SIGNED = 0,
    parameter B_BITS = 1,
    parameter B_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter PRODUCT_BITS = 1,
    parameter PRODUCT_SIGNED = 0
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [LANES*(A_BITS+B_BITS)-1:0] in_data,
    input wire [1:0] in_valid,
    output wire [1:0] in_ready,
    output wire [LANES*OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    wire step, works, ends;
    assign in_ready = {2{works}};
    fpgaflow_counter #(.N(POSITIONS * (CHANNELS / LANES))) word (
        .clk(clk), .reset(start), .count(works), .at(), .last(ends), .ends());
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!(&in_valid)), .writes(1'b1), .ends(ends),
        .ready(out_ready), .busy(busy), .step(step), .works(works), .valid(out_valid));
    fpgaflow_products #(.LANES(LANES), .DSP(DSP), .A_BITS(A_BITS), .A_SIGNED(A_SIGNED), .B_BITS(B_BITS),
                        .B_SIGNED(B_SIGNED), .PRODUCT_BITS(PRODUCT_BITS), .PRODUCT_SIGNED(PRODUCT_SIGNED),
                        .OUT_BITS(OUT_BITS)) products (
        .clk(clk), .step(step), .a(in_data[LANES*A_BITS-1:0]), .b(in_data[LANES*A_BITS +: LANES*B_BITS]), .y(out_data));
endmodule

// The same with one position of b a frame, which multiplies all positions of a: it is read with the first one and comes
// round in a delay line.
module fpgaflow_multiply_all #(
    parameter STAGES = 2,
    parameter FRAME_BITS = 16,
    parameter POSITIONS = 1,
    parameter CHANNELS = 1,
    parameter LANES = 1,
    parameter DSP = 0,
    parameter A_BITS = 1,
    parameter A_SIGNED = 0,
    parameter B_BITS = 1,
    parameter B_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter PRODUCT_BITS = 1,
    parameter PRODUCT_SIGNED = 0
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [LANES*(A_BITS+B_BITS)-1:0] in_data,
    input wire [1:0] in_valid,
    output wire [1:0] in_ready,
    output wire [LANES*OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam BLOCKS = CHANNELS / LANES, BITS = POSITIONS > 1 ? $clog2(POSITIONS) : 1;
    wire step, count;
    wire [BITS-1:0] position;
    wire [LANES*B_BITS-1:0] oldest;
    wire reads = position == 0;
    wire [LANES*B_BITS-1:0] factor = reads ? in_data[LANES*A_BITS +: LANES*B_BITS] : oldest;
    assign in_ready = {count && reads, count};
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(BLOCKS), .OUTER(POSITIONS)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid[0] || (reads && !in_valid[1])),
        .writes(1'b1), .ready(out_ready), .busy(busy), .step(step), .works(count), .valid(out_valid), .inner(),
        .inner_last(), .outer(position), .outer_last());
    fpgaflow_delay #(.BITS(LANES*B_BITS), .DEPTH(BLOCKS)) kept (.clk(clk), .step(count), .x(factor), .y(oldest));
    fpgaflow_products #(.LANES(LANES), .DSP(DSP), .A_BITS(A_BITS), .A_SIGNED(A_SIGNED), .B_BITS(B_BITS),
                        .B_SIGNED(B_SIGNED), .PRODUCT_BITS(PRODUCT_BITS), .PRODUCT_SIGNED(PRODUCT_SIGNED),
                        .OUT_BITS(OUT_BITS)) products (
        .clk(clk), .step(step), .a(in_data[LANES*A_BITS-1:0]), .b(factor), .y(out_data));
endmodule

// The same words to every one of STREAMS outputs.
module fpgaflow_fork #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16,
    parameter STREAMS = 2,
    parameter WORDS = 1,
    parameter LANES = 1,
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
    output wire [STREAMS*LANES*IN_BITS-1:0] out_data,
    output wire [STREAMS-1:0] out_valid,
    input wire [STREAMS-1:0] out_ready
);
    reg [LANES*IN_BITS-1:0] word;
    wire step, works, ends, valid;
    assign in_ready = works;
    assign out_data = {STREAMS{word}};
    assign out_valid = {STREAMS{valid && (&out_ready)}};
    fpgaflow_counter #(.N(WORDS)) counter (.clk(clk), .reset(start), .count(works), .at(), .last(ends), .ends());
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid), .writes(1'b1), .ends(ends),
        .ready(&out_ready), .busy(busy), .step(step), .works(works), .valid(valid));
    always @(posedge clk) if (step) word <= in_data;
endmodule

// The same elements in wider words; WORDS of the input a frame.
module fpgaflow_widen #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16,
    parameter WORDS = 1,
    parameter LANES_IN = 1,
    parameter LANES_OUT = 1,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [LANES_IN*IN_BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [LANES_OUT*IN_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam RATIO = LANES_OUT / LANES_IN, NARROW = LANES_IN * IN_BITS, WIDE = LANES_OUT * IN_BITS;
    reg [WIDE-1:0] held;
    wire step, works, full;
    assign in_ready = works;
    assign out_data = held;
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(RATIO), .OUTER(WORDS / RATIO)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(!in_valid), .writes(full), .ready(out_ready),
        .busy(busy), .step(step), .works(works), .valid(out_valid), .inner(), .inner_last(full), .outer(),
        .outer_last());
    always @(posedge clk) if (works) held <= {in_data, held[WIDE-1:NARROW]};
endmodule

// The same elements in narrower words; WORDS of the output a frame.
module fpgaflow_narrow #(
    parameter STAGES = 1,
    parameter FRAME_BITS = 16,
    parameter WORDS = 1,
    parameter LANES_IN = 1,
    parameter LANES_OUT = 1,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [LANES_IN*IN_BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [LANES_OUT*IN_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam RATIO = LANES_IN / LANES_OUT, NARROW = LANES_OUT * IN_BITS, WIDE = LANES_IN * IN_BITS;
    reg [WIDE-1:0] held;
    wire step, works;
    wire [(RATIO > 1 ? $clog2(RATIO) : 1)-1:0] at;
    wire reads = at == 0;
    assign in_ready = works && reads;
    assign out_data = held[NARROW-1:0];
    fpgaflow_loop #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .INNER(RATIO), .OUTER(WORDS / RATIO)) loop (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(reads && !in_valid), .writes(1'b1),
        .ready(out_ready), .busy(busy), .step(step), .works(works), .valid(out_valid), .inner(at), .inner_last(),
        .outer(), .outer_last());
    always @(posedge clk) if (works) held <= reads ? in_data : held >> NARROW;
endmodule

`default_nettype wire
