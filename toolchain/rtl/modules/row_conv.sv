// Convolution along the rows of a map; a DSP slice multiplies all taps of a filter by several columns at once.
`default_nettype none

// A step takes the next COLUMNS columns of a row. Its products are sums in TAPS + COLUMNS - 1 fields, each of one output
// column; the upper TAPS - 1 of them wait for the next step. While a step is computed, the columns of the next one are
// read and those of the one before the last are written.
module fpgaflow_row_conv #(
    parameter STAGES = 6,
    parameter FRAME_BITS = 16,
    parameter HEIGHT = 1,
    parameter WIDTH = 1,
    parameter COLUMNS = 1,
    parameter TAPS = 1,
    parameter PAD = 0,
    parameter INPUTS = 1,
    parameter OUTPUTS = 1,
    parameter SIMD = 1,
    parameter PE = 1,
    parameter SPACING = 1,
    parameter CHAIN = 1,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter WORD_BITS = 1,
    parameter WORD_SIGNED = 0,
    parameter VALUE_BITS = 1,
    parameter VALUE_SIGNED = 0,
    parameter DIGIT_BITS = 1,
    parameter DIGIT_SIGNED = 0,
    parameter DIGIT_FILE = "",
    parameter DIGIT_STYLE = "",
    parameter COLUMNS_STYLE = "",
    parameter RESULTS_STYLE = ""
) (
    input wire clk,
    input wire reset,
    input wire start,
    input wire [FRAME_BITS-1:0] frames,
    output wire busy,
    input wire [SIMD*IN_BITS-1:0] in_data,
    input wire in_valid,
    output wire in_ready,
    output wire [COLUMNS*PE*OUT_BITS-1:0] out_data,
    output wire out_valid,
    input wire out_ready
);
    localparam FIELDS = TAPS + COLUMNS - 1, GROUPS = WIDTH / COLUMNS, WAITING = TAPS - 1;
    localparam IN_BLOCKS = INPUTS / SIMD, OUT_BLOCKS = OUTPUTS / PE, WORDS = OUT_BLOCKS / COLUMNS;
    localparam FOLDS = IN_BLOCKS * OUT_BLOCKS, SILENT = PAD > 0 ? 0 : WAITING / COLUMNS;
    localparam I_BITS = IN_BLOCKS > 1 ? $clog2(IN_BLOCKS) : 1, F_BITS = FOLDS > 1 ? $clog2(FOLDS) : 1;
    localparam C_BITS = COLUMNS > 1 ? $clog2(COLUMNS) : 1, W_BITS = WORDS > 1 ? $clog2(WORDS) : 1;
    localparam G_BITS = GROUPS > 1 ? $clog2(GROUPS) : 1;
    localparam IN_WORDS = 2 * IN_BLOCKS, RING = 4 * WORDS;
    localparam IN_AT = $clog2(IN_WORDS), RING_AT = $clog2(RING);
    localparam SUMMED = STAGES - 2;  // stage in which the sums of a fold are added

    // where the unit stands: the step that is computed, the one that is read and the one that is written
    reg filling;  // the first columns are read, nothing is computed
    reg [1:0] ahead;  // steps that are computed and have not left
    reg [FRAME_BITS-1:0] unread;  // frames that are not read to their end
    reg [1:0] at_step;
    wire step, count, i_last, block_ends, part_last, columns_end, fold_ends, place_ends, out_last, out_ends, row_last;
    wire [I_BITS-1:0] i;
    wire [C_BITS-1:0] part, column;
    wire [W_BITS-1:0] word, place;
    wire [F_BITS-1:0] fold;
    wire [G_BITS-1:0] group, group_out;
    wire reads = word == 0 && unread != 0;
    wire writes = ahead == 2 && i_last && group_out >= SILENT;
    wire in_ends, frame_read;
    assign in_ready = count && reads;
    fpgaflow_counter #(.N(IN_BLOCKS)) i_counter (
        .clk(clk), .reset(start), .count(count), .at(i), .last(i_last), .ends(block_ends));
    fpgaflow_counter #(.N(COLUMNS)) part_counter (
        .clk(clk), .reset(start), .count(block_ends), .at(part), .last(part_last), .ends(columns_end));
    fpgaflow_counter #(.N(GROUPS)) group_in (
        .clk(clk), .reset(start), .count(columns_end && reads), .at(), .last(), .ends(in_ends));
    fpgaflow_counter #(.N(HEIGHT)) row_in (
        .clk(clk), .reset(start), .count(in_ends), .at(), .last(), .ends(frame_read));
    fpgaflow_counter #(.N(WORDS)) word_counter (
        .clk(clk), .reset(start), .count(columns_end && !filling), .at(word), .last(), .ends());
    fpgaflow_counter #(.N(WORDS)) place_counter (
        .clk(clk), .reset(start), .count(block_ends && !filling), .at(place), .last(), .ends(place_ends));
    fpgaflow_counter #(.N(COLUMNS)) column_counter (
        .clk(clk), .reset(start), .count(place_ends), .at(column), .last(), .ends());
    fpgaflow_counter #(.N(FOLDS)) fold_counter (
        .clk(clk), .reset(start), .count(count && !filling), .at(fold), .last(), .ends(fold_ends));
    fpgaflow_counter #(.N(GROUPS)) group_counter (
        .clk(clk), .reset(start), .count(fold_ends), .at(group), .last(), .ends());
    fpgaflow_counter #(.N(GROUPS)) group_out_counter (
        .clk(clk), .reset(start), .count(fold_ends && ahead == 2), .at(group_out), .last(out_last), .ends(out_ends));
    fpgaflow_counter #(.N(HEIGHT)) row_out (
        .clk(clk), .reset(start), .count(out_ends), .at(), .last(row_last), .ends());
    wire step_ends = fold == FOLDS - 1 && !filling;
    fpgaflow_control #(.STAGES(STAGES), .FRAME_BITS(FRAME_BITS)) control (
        .clk(clk), .reset(reset), .start(start), .frames(frames), .missing(reads && !in_valid), .writes(writes),
        .ends(step_ends && ahead == 2 && out_last && row_last), .ready(out_ready), .busy(busy), .step(step),
        .works(count), .valid(out_valid));
    always @(posedge clk) begin
        if (start) begin
            filling <= 1'b1;
            ahead <= 0;
            unread <= frames;
            at_step <= 3;
        end else if (count) begin
            if (frame_read) unread <= unread - 1'b1;
            if (filling && columns_end) filling <= 1'b0;
            if (fold_ends || (filling && columns_end)) at_step <= at_step + 1'b1;
            if (fold_ends && ahead != 2) ahead <= ahead + 1'b1;
        end
    end

    // columns: written at step 0, read at step 1, packed behind step 2
    reg [I_BITS-1:0] i_1;
    reg odd_1;
    wire [SIMD*COLUMNS*IN_BITS-1:0] columns;
    wire [SIMD*VALUE_BITS-1:0] packed_values;
    wire [IN_AT-1:0] write_at = (at_step[0] ? 0 : IN_BLOCKS) + i;
    wire [IN_AT-1:0] read_at = (odd_1 ? IN_BLOCKS : 0) + i_1;
    always @(posedge clk) if (step) begin
        i_1 <= i;
        odd_1 <= at_step[0];
    end
    genvar c, l, p, f;
    generate
        for (c = 0; c < COLUMNS; c = c + 1) begin : bank
            wire [SIMD*IN_BITS-1:0] held;
            fpgaflow_ram #(.DEPTH(IN_WORDS), .WIDTH(SIMD*IN_BITS), .STYLE(COLUMNS_STYLE)) kept (
                .clk(clk), .write(in_ready && part == c), .write_at(write_at), .written(in_data), .step(step),
                .read_at(read_at), .word(held));
            for (l = 0; l < SIMD; l = l + 1) begin : simd
                assign columns[(l*COLUMNS+c)*IN_BITS +: IN_BITS] = held[l*IN_BITS +: IN_BITS];
            end
        end
        for (l = 0; l < SIMD; l = l + 1) begin : value
            fpgaflow_join #(.COUNT(COLUMNS), .BITS(IN_BITS), .SIGNED(IN_SIGNED), .SPACING(SPACING),
                            .OUT_BITS(VALUE_BITS)) joined (
                .x(columns[l*COLUMNS*IN_BITS +: COLUMNS*IN_BITS]), .y(packed_values[l*VALUE_BITS +: VALUE_BITS]));
        end
    endgenerate

    // products: digits and values in registers at step 3, field sums at SUMMED
    wire [PE*FIELDS*OUT_BITS-1:0] products;
    reg [SIMD*VALUE_BITS-1:0] values;
    always @(posedge clk) if (step) values <= packed_values;
    wire [F_BITS-1:0] fold_2;
    fpgaflow_delay #(.BITS(F_BITS), .DEPTH(2)) fold_delay (.clk(clk), .step(step), .x(fold), .y(fold_2));
    generate
        for (p = 0; p < PE; p = p + 1) begin : pe
            localparam [31:0] NUMBER = p;
            wire [SIMD*TAPS*DIGIT_BITS-1:0] digits;
            wire [SIMD*WORD_BITS-1:0] filters;
            fpgaflow_bank #(.DEPTH(FOLDS), .WIDTH(SIMD*TAPS*DIGIT_BITS), .FILE(DIGIT_FILE), .NUMBER(NUMBER),
                            .STYLE(DIGIT_STYLE)) bank (
                .clk(clk), .step(step), .at(fold_2), .word(digits));
            for (l = 0; l < SIMD; l = l + 1) begin : simd
                wire [TAPS*SPACING+WORD_BITS-1:0] side_by_side;
                for (f = 0; f < TAPS; f = f + 1) begin : digit
                    wire [DIGIT_BITS-1:0] d = digits[(l*TAPS+f)*DIGIT_BITS +: DIGIT_BITS];
                    wire signed [SPACING+WORD_BITS+DIGIT_BITS-1:0] wide =
                        $signed({DIGIT_SIGNED != 0 && d[DIGIT_BITS-1], d});
                    if (f < TAPS - 1) begin : field
                        assign side_by_side[f*SPACING +: SPACING] = wide[SPACING-1:0];
                    end else begin : top
                        assign side_by_side[TAPS*SPACING+WORD_BITS-1:f*SPACING] = wide[SPACING+WORD_BITS-1:0];
                    end
                end
                assign filters[l*WORD_BITS +: WORD_BITS] = side_by_side[WORD_BITS-1:0];
            end
            fpgaflow_chains #(.SIMD(SIMD), .CHAIN(CHAIN), .FIELDS(FIELDS), .SPACING(SPACING), .WORD_BITS(WORD_BITS),
                              .VALUE_BITS(VALUE_BITS), .VALUE_SIGNED(VALUE_SIGNED), .OUT_BITS(OUT_BITS)) chains (
                .clk(clk), .step(step), .words(filters), .values(values),
                .sums(products[p*FIELDS*OUT_BITS +: FIELDS*OUT_BITS]));
        end
    endgenerate

    // sums over the blocks of inputs, with what the step before left of their columns
    wire begins, ends, first, computed;
    wire [1:0] step_s;
    wire [W_BITS-1:0] word_s;
    wire [C_BITS-1:0] part_s;
    fpgaflow_delay #(.BITS(6+W_BITS+C_BITS), .DEPTH(SUMMED-1)) facts (
        .clk(clk), .step(step), .x({i == 0, i_last, group == 0, count && !filling, at_step, word, part}),
        .y({begins, ends, first, computed, step_s, word_s, part_s}));
    reg [PE*FIELDS*OUT_BITS-1:0] sums;
    reg finished;  // a block of outputs: its columns are written to the ring and carried with the next iteration
    reg [1:0] step_f;
    reg [W_BITS-1:0] word_f;
    reg [C_BITS-1:0] part_f;
    wire carries = step && computed && finished;
    generate
        for (p = 0; p < PE; p = p + 1) begin : summed
            wire [WAITING*OUT_BITS:0] carry;
            if (WAITING > 0) begin : carried
                // the sums of a block return a step later, behind those of the others; the last ones still stand in sums
                wire [WAITING*OUT_BITS-1:0] newest = sums[(p*FIELDS+COLUMNS)*OUT_BITS +: WAITING*OUT_BITS];
                wire [WAITING*OUT_BITS-1:0] oldest;
                fpgaflow_delay #(.BITS(WAITING*OUT_BITS), .DEPTH(OUT_BLOCKS-1)) line (
                    .clk(clk), .step(carries), .x(newest), .y(oldest));
                assign carry = {1'b0, oldest};
            end else begin : none
                assign carry = 0;
            end
            for (f = 0; f < FIELDS; f = f + 1) begin : field
                wire [OUT_BITS-1:0] now = sums[(p*FIELDS+f)*OUT_BITS +: OUT_BITS];
                wire [OUT_BITS-1:0] after =
                    first && f < PAD ? {OUT_BITS{1'b0}} : products[(p*FIELDS+f)*OUT_BITS +: OUT_BITS];
                wire [OUT_BITS-1:0] waited;
                if (f < WAITING) begin : low
                    assign waited = first && f >= PAD ? {OUT_BITS{1'b0}} : carry[f*OUT_BITS +: OUT_BITS];
                end else begin : high
                    assign waited = 0;
                end
                always @(posedge clk) if (step && computed)
                    sums[(p*FIELDS+f)*OUT_BITS +: OUT_BITS] <= (begins ? waited : now) + after;
            end
        end
    endgenerate
    always @(posedge clk) begin
        if (reset || start) finished <= 1'b0;
        else if (step && computed) finished <= ends;
        if (step && computed) begin
            step_f <= step_s;
            word_f <= word_s;
            part_f <= part_s;
        end
    end

    // the ring of columns that leave: [slot][word] a memory for every column, part and output
    wire [1:0] leaves;
    wire [W_BITS-1:0] place_r;
    wire [C_BITS-1:0] column_r, column_q;
    wire [1:0] step_now = at_step + 2'd2;
    fpgaflow_delay #(.BITS(2+W_BITS+C_BITS), .DEPTH(STAGES-2)) out_facts (
        .clk(clk), .step(step), .x({step_now, place, column}), .y({leaves, place_r, column_r}));
    fpgaflow_delay #(.BITS(C_BITS), .DEPTH(1)) out_column (.clk(clk), .step(step), .x(column_r), .y(column_q));
    wire [RING_AT-1:0] ring_read = leaves * WORDS + place_r;
    wire [COLUMNS*COLUMNS*PE*OUT_BITS-1:0] ring;
    genvar q;
    generate
        for (c = 0; c < COLUMNS; c = c + 1) begin : ring_column
            // fields below PAD end a column of the step before
            localparam FIELD = c < COLUMNS - PAD ? c + PAD : c + PAD - COLUMNS;
            localparam [1:0] BACK = c < COLUMNS - PAD ? 2'd0 : 2'd3;
            wire [1:0] slot = step_f + BACK;
            wire [RING_AT-1:0] ring_write = slot * WORDS + word_f;
            for (q = 0; q < COLUMNS; q = q + 1) begin : ring_part
                for (p = 0; p < PE; p = p + 1) begin : ring_pe
                    fpgaflow_ram #(.DEPTH(RING), .WIDTH(OUT_BITS), .STYLE(RESULTS_STYLE)) kept (
                        .clk(clk), .write(carries && part_f == q), .write_at(ring_write),
                        .written(sums[(p*FIELDS+FIELD)*OUT_BITS +: OUT_BITS]), .step(step), .read_at(ring_read),
                        .word(ring[((c*COLUMNS+q)*PE+p)*OUT_BITS +: OUT_BITS]));
                end
            end
        end
    endgenerate
    reg [COLUMNS*PE*OUT_BITS-1:0] result;
    assign out_data = result;
    always @(posedge clk) if (step) result <= ring[column_q*(COLUMNS*PE*OUT_BITS) +: COLUMNS*PE*OUT_BITS];
endmodule

// COUNT numbers SPACING bits apart, added up: wires where they are unsigned.
module fpgaflow_join #(
    parameter COUNT = 1,
    parameter BITS = 1,
    parameter SIGNED = 0,
    parameter SPACING = 1,
    parameter OUT_BITS = 1
) (
    input wire [COUNT*BITS-1:0] x,
    output wire [OUT_BITS-1:0] y
);
    wire [OUT_BITS-1:0] sums [0:COUNT];
    assign sums[0] = 0;
    assign y = sums[COUNT];
    genvar i;
    generate
        for (i = 0; i < COUNT; i = i + 1) begin : number
            wire [BITS-1:0] n = x[i*BITS +: BITS];
            wire signed [OUT_BITS+BITS:0] wide = $signed({SIGNED != 0 && n[BITS-1], n});
            wire [OUT_BITS-1:0] moved = wide[OUT_BITS-1:0] << i * SPACING;
            if (SIGNED != 0) begin : add
                assign sums[i+1] = sums[i] + moved;
            end else begin : side_by_side
                assign sums[i+1] = sums[i] | moved;
            end
        end
    endgenerate
endmodule

// Products of packed words, summed field by field on chains of at most CHAIN slices, one step a slice; then the sums of
// the chains. 2 + CHAIN' steps, CHAIN' the longest chain, and those of the sum.
module fpgaflow_chains #(
    parameter SIMD = 1,
    parameter CHAIN = 1,
    parameter FIELDS = 1,
    parameter SPACING = 1,
    parameter WORD_BITS = 1,
    parameter VALUE_BITS = 1,
    parameter VALUE_SIGNED = 0,
    parameter OUT_BITS = 1
) (
    input wire clk,
    input wire step,
    input wire [SIMD*WORD_BITS-1:0] words,
    input wire [SIMD*VALUE_BITS-1:0] values,
    output wire [FIELDS*OUT_BITS-1:0] sums
);
    localparam LONG = CHAIN < SIMD ? CHAIN : SIMD, CHAINS = (SIMD + LONG - 1) / LONG;
    wire [FIELDS*CHAINS*SPACING-1:0] parts;
    genvar k, n, f;
    generate
        for (k = 0; k < CHAINS; k = k + 1) begin : chain
            // half the range of every field, so that none is negative
            wire [47:0] total [0:LONG];
            wire [FIELDS*SPACING+47:0] halves;
            for (f = 0; f < FIELDS; f = f + 1) begin : half
                assign halves[f*SPACING +: SPACING] = {1'b1, {SPACING{1'b0}}} >> 1;
            end
            assign halves[FIELDS*SPACING+47:FIELDS*SPACING] = 0;
            assign total[0] = halves[47:0];
            for (n = 0; n < LONG; n = n + 1) begin : slice
                if (k * LONG + n < SIMD) begin : used
                    wire [WORD_BITS-1:0] word;
                    wire [VALUE_BITS-1:0] value;
                    fpgaflow_delay #(.BITS(WORD_BITS), .DEPTH(n)) word_waits (
                        .clk(clk), .step(step), .x(words[(k*LONG+n)*WORD_BITS +: WORD_BITS]), .y(word));
                    fpgaflow_delay #(.BITS(VALUE_BITS), .DEPTH(n)) value_waits (
                        .clk(clk), .step(step), .x(values[(k*LONG+n)*VALUE_BITS +: VALUE_BITS]), .y(value));
                    fpgaflow_dsp_cascade #(.A_BITS(WORD_BITS), .B_BITS(VALUE_BITS), .B_SIGNED(VALUE_SIGNED)) dsp (
                        .clk(clk), .step(step), .a(word), .b(value), .earlier(total[n]), .after(total[n+1]));
                end else begin : past
                    reg [47:0] waits;
                    always @(posedge clk) if (step) waits <= total[n];
                    assign total[n+1] = waits;
                end
            end
            for (f = 0; f < FIELDS; f = f + 1) begin : field
                wire [SPACING-1:0] bits = total[LONG][f*SPACING +: SPACING];
                assign parts[(f*CHAINS+k)*SPACING +: SPACING] = bits ^ ({1'b1, {SPACING{1'b0}}} >> 1);
            end
        end
        for (f = 0; f < FIELDS; f = f + 1) begin : sum
            fpgaflow_sum #(.COUNT(CHAINS), .BITS(SPACING), .SIGNED(1), .OUT_BITS(OUT_BITS)) tree (
                .clk(clk), .step(step), .x(parts[f*CHAINS*SPACING +: CHAINS*SPACING]),
                .y(sums[f*OUT_BITS +: OUT_BITS]));
        end
    endgenerate
endmodule

`default_nettype wire
