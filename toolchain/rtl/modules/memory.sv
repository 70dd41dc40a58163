// Memories: constants, words that are written and read, and the FIFOs between units.
`default_nettype none

// Constants from FILE (hexadecimal, one word a line); the word of address `at` stands at `word` one step later. A single
// word is wiring.
module fpgaflow_rom #(
    parameter DEPTH = 1,
    parameter WIDTH = 1,
    parameter FILE = "",
    parameter STYLE = "distributed",
    parameter BITS = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input wire clk,
    input wire step,
    input wire [BITS-1:0] at,
    output wire [WIDTH-1:0] word
);
    generate
        if (DEPTH == 1) begin : wired
            reg [WIDTH-1:0] words [0:0];
            initial $readmemh(FILE, words);
            assign word = words[0];
        end else if (STYLE == "bram") begin : blocks
            (* rom_style = "block" *) reg [WIDTH-1:0] words [0:DEPTH-1];
            reg [WIDTH-1:0] kept;
            initial $readmemh(FILE, words);
            always @(posedge clk) if (step) kept <= words[at];
            assign word = kept;
        end else begin : luts
`ifdef YOSYS
            (* rom_style = "logic" *)  // its "distributed" has no memory without a write port
`else
            (* rom_style = "distributed" *)
`endif
            reg [WIDTH-1:0] words [0:DEPTH-1];
            reg [WIDTH-1:0] kept;
            initial $readmemh(FILE, words);
            always @(posedge clk) if (step) kept <= words[at];
            assign word = kept;
        end
    endgenerate
endmodule

// Memory NUMBER of a table that is split: constants from FILE_NUMBER.mem, four digits.
module fpgaflow_bank #(
    parameter DEPTH = 1,
    parameter WIDTH = 1,
    parameter FILE = "",
    parameter [31:0] NUMBER = 0,
    parameter STYLE = "lutram",
    parameter BITS = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input wire clk,
    input wire step,
    input wire [BITS-1:0] at,
    output wire [WIDTH-1:0] word
);
    localparam [7:0] D0 = 48 + NUMBER % 10, D1 = 48 + NUMBER / 10 % 10;
    localparam [7:0] D2 = 48 + NUMBER / 100 % 10, D3 = 48 + NUMBER / 1000 % 10;
    fpgaflow_rom #(.DEPTH(DEPTH), .WIDTH(WIDTH), .FILE({FILE, "_", D3, D2, D1, D0, ".mem"}), .STYLE(STYLE)) rom (
        .clk(clk), .step(step), .at(at), .word(word));
endmodule

// One port to write and one to read. The word read stands at `word` one step later; one written in the same cycle as it
// is read is not seen.
module fpgaflow_ram #(
    parameter DEPTH = 1,
    parameter WIDTH = 1,
    parameter STYLE = "lutram",
    parameter BITS = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input wire clk,
    input wire write,
    input wire [BITS-1:0] write_at,
    input wire [WIDTH-1:0] written,
    input wire step,
    input wire [BITS-1:0] read_at,
    output wire [WIDTH-1:0] word
);
    reg [WIDTH-1:0] kept;
    assign word = kept;
    generate
        if (DEPTH == 1) begin : register
            reg [WIDTH-1:0] held;
            always @(posedge clk) if (write) held <= written;
            always @(posedge clk) if (step) kept <= held;
        end else if (STYLE == "bram") begin : blocks
            (* ram_style = "block" *) reg [WIDTH-1:0] words [0:DEPTH-1];
            always @(posedge clk) if (write) words[write_at] <= written;
            always @(posedge clk) if (step) kept <= words[read_at];
        end else if (STYLE == "uram") begin : ultra
            (* ram_style = "ultra" *) reg [WIDTH-1:0] words [0:DEPTH-1];
            always @(posedge clk) if (write) words[write_at] <= written;
            always @(posedge clk) if (step) kept <= words[read_at];
        end else begin : luts
            (* ram_style = "distributed" *) reg [WIDTH-1:0] words [0:DEPTH-1];
            always @(posedge clk) if (write) words[write_at] <= written;
            always @(posedge clk) if (step) kept <= words[read_at];
        end
    endgenerate
endmodule

// A stream: DEPTH words. A word that comes in shows a cycle later, a place that is left is free a cycle later. Two words
// lie in registers, up to 32 in shift registers, more in a memory.
module fpgaflow_fifo #(
    parameter DEPTH = 2,
    parameter WIDTH = 1,
    parameter STYLE = "srl",
    parameter ID = 0
) (
    input wire clk,
    input wire reset,
    input wire [WIDTH-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [WIDTH-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam COUNT_BITS = $clog2(DEPTH + 1);
    reg [COUNT_BITS-1:0] count;
    wire push = in_valid && in_ready;
    wire pop = out_valid && out_ready;
    assign in_ready = count != DEPTH;
    assign out_valid = count != 0;
    always @(posedge clk) begin
        if (reset) count <= 0;
        else if (push != pop) count <= push ? count + 1'b1 : count - 1'b1;
    end
    generate
        if (DEPTH <= 2) begin : registers
            reg [WIDTH*DEPTH-1:0] words;
            if (DEPTH == 1) begin : single
                assign out_data = words;
                always @(posedge clk) if (push) words <= in_data;
            end else begin : several
                assign out_data = count[1] ? words[2*WIDTH-1:WIDTH] : words[WIDTH-1:0];
                always @(posedge clk) if (push) words <= {words[WIDTH-1:0], in_data};
            end
        end else if (DEPTH <= 32) begin : shift
            // A shift register a bit: in one of whole words synthesis finds none, and takes flip-flops and selectors.
            wire [COUNT_BITS-1:0] oldest = count - 1'b1;
            genvar lane;
            for (lane = 0; lane < WIDTH; lane = lane + 1) begin : line
                reg [DEPTH-1:0] bits;
                assign out_data[lane] = bits[oldest];
                always @(posedge clk) if (push) bits <= {bits[DEPTH-2:0], in_data[lane]};
            end
        end else begin : memory
            // The oldest word waits in a register that a read refills: from the memory, or with the word that comes in.
            localparam PLACE_BITS = $clog2(DEPTH);
            reg [PLACE_BITS-1:0] head, tail;
            reg [WIDTH-1:0] newest, kept;
            reg fresh;
            wire [WIDTH-1:0] word;
            wire [PLACE_BITS-1:0] next = head == DEPTH - 1 ? {PLACE_BITS{1'b0}} : head + 1'b1;
            wire [PLACE_BITS-1:0] read_at = pop ? next : head;
            assign out_data = fresh ? newest : word;
            always @(posedge clk) begin
                if (reset) begin
                    head <= 0;
                    tail <= 0;
                end else begin
                    if (push) tail <= tail == DEPTH - 1 ? {PLACE_BITS{1'b0}} : tail + 1'b1;
                    if (pop) head <= next;
                end
                fresh <= push && tail == read_at;
                newest <= in_data;
            end
            fpgaflow_ram #(.DEPTH(DEPTH), .WIDTH(WIDTH), .STYLE(STYLE)) words (
                .clk(clk), .write(push), .write_at(tail), .written(in_data),
                .step(1'b1), .read_at(read_at), .word(word));
        end
    endgenerate
`ifdef VERILATOR
    // The most words that the FIFO held; with +record=FOLDER also every word that came in, with its cycle.
    integer most, file;
    reg [63:0] cycle;
    string folder;
    initial begin
        file = 0;
        if ($value$plusargs("record=%s", folder)) file = $fopen($sformatf("%s/stream_%0d.txt", folder, ID), "w");
    end
    always @(posedge clk) begin
        cycle <= reset ? 0 : cycle + 1;
        most <= reset ? 0 : count > most ? count : most;
        if (!reset && push && file != 0) $fwrite(file, "%0d %h\n", cycle - 64'd1, in_data);
    end
    final $display("fill %0d %0d", ID, most);
`endif
endmodule

`default_nettype wire
