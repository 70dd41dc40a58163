// Products, and sums of products.
`default_nettype none

// a * b in a register, on a DSP slice or in LUTs: a signed number that holds every product of the factors' types.
module fpgaflow_product #(
    parameter A_BITS = 1,
    parameter A_SIGNED = 0,
    parameter B_BITS = 1,
    parameter B_SIGNED = 0,
    parameter OUT_BITS = 1,
    parameter OUT_SIGNED = 0,
    parameter DSP = 0
) (
    input wire clk,
    input wire step,
    input wire [A_BITS-1:0] a,
    input wire [B_BITS-1:0] b,
    output wire signed [OUT_BITS:0] y
);
    localparam WIDE_A = A_BITS + (A_SIGNED != 0 ? 0 : 1), WIDE_B = B_BITS + (B_SIGNED != 0 ? 0 : 1);
    wire signed [WIDE_A-1:0] wide_a = $signed({A_SIGNED != 0 && a[A_BITS-1], a});
    wire signed [WIDE_B-1:0] wide_b = $signed({B_SIGNED != 0 && b[B_BITS-1], b});
    wire signed [OUT_BITS-1:0] product;
    assign y = $signed({OUT_SIGNED != 0 && product[OUT_BITS-1], product});
    generate
        if (DSP != 0) begin : slice
            fpgaflow_dsp_product #(.A_BITS(WIDE_A), .B_BITS(WIDE_B), .OUT_BITS(OUT_BITS)) multiplier (
                .clk(clk), .step(step), .a(wide_a), .b(wide_b), .y(product));
        end else begin : luts
            (* use_dsp = "no" *) reg signed [OUT_BITS-1:0] kept;
            always @(posedge clk) if (step) kept <= wide_a * wide_b;
            assign product = kept;
        end
    endgenerate
endmodule

// The products of the lanes of two words, two steps later.
module fpgaflow_products #(
    parameter LANES = 1,
    parameter DSP = 0,
    parameter A_BITS = 1,
    parameter A_SIGNED = 0,
    parameter B_BITS = 1,
    parameter B_SIGNED = 0,
    parameter PRODUCT_BITS = 1,
    parameter PRODUCT_SIGNED = 0,
    parameter OUT_BITS = 1
) (
    input wire clk,
    input wire step,
    input wire [LANES*A_BITS-1:0] a,
    input wire [LANES*B_BITS-1:0] b,
    output wire [LANES*OUT_BITS-1:0] y
);
    reg [LANES*A_BITS-1:0] left;
    reg [LANES*B_BITS-1:0] right;
    always @(posedge clk) if (step) begin
        left <= a;
        right <= b;
    end
    genvar l;
    generate
        for (l = 0; l < LANES; l = l + 1) begin : lane
            wire signed [PRODUCT_BITS:0] product;
            wire signed [OUT_BITS-1:0] result = product;
            fpgaflow_product #(.A_BITS(A_BITS), .A_SIGNED(A_SIGNED), .B_BITS(B_BITS), .B_SIGNED(B_SIGNED),
                               .OUT_BITS(PRODUCT_BITS), .OUT_SIGNED(PRODUCT_SIGNED), .DSP(DSP)) multiplier (
                .clk(clk), .step(step), .a(left[l*A_BITS +: A_BITS]), .b(right[l*B_BITS +: B_BITS]), .y(product));
            assign y[l*OUT_BITS +: OUT_BITS] = result;
        end
    endgenerate
endmodule

// PE dot products of SIMD weights and inputs, each modulo 2**OUT_BITS. weights: [pe][simd]. Products are in a register,
// then summed: 1 + ceil(log2(SIMD) / 2) steps.
module fpgaflow_dots #(
    parameter SIMD = 1,
    parameter PE = 1,
    parameter DSP = 0,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter WEIGHT_BITS = 1,
    parameter WEIGHT_SIGNED = 0,
    parameter PRODUCT_BITS = 1,
    parameter PRODUCT_SIGNED = 0,
    parameter OUT_BITS = 1
) (
    input wire clk,
    input wire step,
    input wire [PE*SIMD*WEIGHT_BITS-1:0] weights,
    input wire [SIMD*IN_BITS-1:0] values,
    output wire [PE*OUT_BITS-1:0] dots
);
    genvar p, l;
    generate
        for (p = 0; p < PE; p = p + 1) begin : pe
            wire [SIMD*PRODUCT_BITS-1:0] products;
            for (l = 0; l < SIMD; l = l + 1) begin : simd
                wire signed [PRODUCT_BITS:0] product;
                fpgaflow_product #(.A_BITS(WEIGHT_BITS), .A_SIGNED(WEIGHT_SIGNED), .B_BITS(IN_BITS),
                                   .B_SIGNED(IN_SIGNED), .OUT_BITS(PRODUCT_BITS), .OUT_SIGNED(PRODUCT_SIGNED),
                                   .DSP(DSP)) multiplier (
                    .clk(clk), .step(step), .a(weights[(p*SIMD+l)*WEIGHT_BITS +: WEIGHT_BITS]),
                    .b(values[l*IN_BITS +: IN_BITS]), .y(product));
                assign products[l*PRODUCT_BITS +: PRODUCT_BITS] = product[PRODUCT_BITS-1:0];
            end
            fpgaflow_sum #(.COUNT(SIMD), .BITS(PRODUCT_BITS), .SIGNED(PRODUCT_SIGNED), .OUT_BITS(OUT_BITS)) sum (
                .clk(clk), .step(step), .x(products), .y(dots[p*OUT_BITS +: OUT_BITS]));
        end
    endgenerate
endmodule

// The same where a slice multiplies COUNT weights by one input: fields of LANE_BITS bits at OFFSETS of the product, less
// what negative sums of the fields below borrow from them. 3 + ceil(log2(SIMD) / 2) steps.
module fpgaflow_packed_dots #(
    parameter SIMD = 1,
    parameter PE = 1,
    parameter COUNT = 2,
    parameter [32*COUNT-1:0] OFFSETS = 0,
    parameter LANE_BITS = 1,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter WEIGHT_BITS = 1,
    parameter WEIGHT_SIGNED = 0,
    parameter WORD_BITS = 1,
    parameter WIDE_BITS = 1,
    parameter OUT_BITS = 1
) (
    input wire clk,
    input wire step,
    input wire [PE*SIMD*WEIGHT_BITS-1:0] weights,
    input wire [SIMD*IN_BITS-1:0] values,
    output wire [PE*OUT_BITS-1:0] dots
);
    localparam SIGN = WEIGHT_BITS - (WEIGHT_SIGNED != 0 ? 1 : 0);  // place of a weight's sign
    localparam BORROWS = $clog2(SIMD + 1);
    genvar p, l, i;
    generate
        for (p = 0; p < PE / COUNT; p = p + 1) begin : slices
            wire [COUNT*SIMD*LANE_BITS-1:0] fields;
            wire [COUNT*SIMD-1:0] borrows;
            for (l = 0; l < SIMD; l = l + 1) begin : simd
                wire [IN_BITS-1:0] x = values[l*IN_BITS +: IN_BITS];
                wire [WORD_BITS-1:0] magnitudes [0:COUNT];
                wire [WORD_BITS-1:0] signs [0:COUNT];
                wire [COUNT:0] hiding, hidden;
                assign magnitudes[0] = 0;
                assign signs[0] = 0;
                assign hiding[0] = 1'b0;
                assign hiding[COUNT] = 1'b0;
                wire signed [WIDE_BITS-1:0] wide;
                for (i = 0; i < COUNT; i = i + 1) begin : product
                    localparam AT = OFFSETS[32*i +: 32], BELOW = i == 0 ? 0 : OFFSETS[32*(i == 0 ? 0 : i - 1) +: 32];
                    localparam EARLY = i > 0 && AT - BELOW < LANE_BITS;
                    localparam BORROW_AT = i == 0 ? 0 : EARLY ? AT : AT - 1;
                    wire [WEIGHT_BITS-1:0] w = weights[((p*COUNT+i)*SIMD+l)*WEIGHT_BITS +: WEIGHT_BITS];
                    wire signed [WORD_BITS:0] full = $signed({WEIGHT_SIGNED != 0 && w[WEIGHT_BITS-1], w});
                    // below the top weight the sign is taken away and subtracted where it weighs
                    wire [WORD_BITS-1:0] mask = {{WORD_BITS{1'b0}}, 1'b1} << SIGN;
                    wire [WORD_BITS-1:0] bits = full[WORD_BITS-1:0];
                    wire [WORD_BITS-1:0] kept = i == COUNT - 1 ? bits : bits & (mask - 1'b1);
                    wire [WORD_BITS-1:0] sign = i == COUNT - 1 ? {WORD_BITS{1'b0}} : bits & mask;
                    assign magnitudes[i+1] = magnitudes[i] | (kept << AT);
                    assign signs[i+1] = signs[i] | (sign << AT);
                    if (i > 0) begin : above
                        assign hiding[i] = EARLY ? w[0] & x[0] : 1'b0;
                        assign borrows[i*SIMD+l] = wide[BORROW_AT] ^ hidden[i];
                    end else begin : lowest
                        assign borrows[i*SIMD+l] = 1'b0;
                    end
                    assign fields[(i*SIMD+l)*LANE_BITS +: LANE_BITS] =
                        wide[AT +: LANE_BITS] ^ {hidden[i+1], {(LANE_BITS-1){1'b0}}};
                end
                fpgaflow_delay #(.BITS(COUNT+1), .DEPTH(2)) hide (.clk(clk), .step(step), .x(hiding), .y(hidden));
                fpgaflow_dsp_difference #(.A_BITS(WORD_BITS), .B_BITS(IN_BITS), .B_SIGNED(IN_SIGNED),
                                              .OUT_BITS(WIDE_BITS)) slice (
                    .clk(clk), .step(step), .d(magnitudes[COUNT]), .a(signs[COUNT]), .b(x), .y(wide));
            end
            for (i = 0; i < COUNT; i = i + 1) begin : total
                wire [OUT_BITS-1:0] field;
                wire [BORROWS-1:0] borrowed;
                reg [OUT_BITS-1:0] sum;
                fpgaflow_sum #(.COUNT(SIMD), .BITS(LANE_BITS), .SIGNED(1), .OUT_BITS(OUT_BITS)) field_sum (
                    .clk(clk), .step(step), .x(fields[i*SIMD*LANE_BITS +: SIMD*LANE_BITS]), .y(field));
                fpgaflow_sum #(.COUNT(SIMD), .BITS(1), .OUT_BITS(BORROWS)) borrow_sum (
                    .clk(clk), .step(step), .x(borrows[i*SIMD +: SIMD]), .y(borrowed));
                always @(posedge clk) if (step) sum <= field + borrowed;
                assign dots[(p*COUNT+i)*OUT_BITS +: OUT_BITS] = sum;
            end
        end
    endgenerate
endmodule

// The same for numbers of few bits by counting the bits that two bit planes share; SIGNS: a weight of 1 is +1, of 0 is
// -1, so that sum(w * x) = 2 * sum(bit * x) - sum(x). Without PLANES weights of one bit choose inputs.
module fpgaflow_narrow_dots #(
    parameter SIMD = 1,
    parameter PE = 1,
    parameter PLANES = 1,
    parameter SIGNS = 0,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter WEIGHT_BITS = 1,
    parameter WEIGHT_SIGNED = 0,
    parameter OUT_BITS = 1
) (
    input wire clk,
    input wire step,
    input wire [PE*SIMD*WEIGHT_BITS-1:0] weights,
    input wire [SIMD*IN_BITS-1:0] values,
    output wire [PE*OUT_BITS-1:0] dots
);
    wire [OUT_BITS-1:0] all;
    wire [PE*OUT_BITS-1:0] sums;
    genvar p;
    generate
        for (p = 0; p < PE + (SIGNS != 0 ? 1 : 0); p = p + 1) begin : pe
            wire [SIMD*WEIGHT_BITS-1:0] row;
            wire [OUT_BITS-1:0] sum;
            if (p < PE) begin : own
                assign row = weights[p*SIMD*WEIGHT_BITS +: SIMD*WEIGHT_BITS];
                assign sums[p*OUT_BITS +: OUT_BITS] = sum;
            end else begin : every
                assign row = {SIMD*WEIGHT_BITS{1'b1}};
                assign all = sum;
            end
            if (PLANES != 0) begin : counted
                fpgaflow_plane_dot #(.SIMD(SIMD), .IN_BITS(IN_BITS), .IN_SIGNED(IN_SIGNED), .WEIGHT_BITS(WEIGHT_BITS),
                                     .WEIGHT_SIGNED(WEIGHT_SIGNED), .OUT_BITS(OUT_BITS)) dot (
                    .clk(clk), .step(step), .weights(row), .values(values), .dot(sum));
            end else begin : chosen
                fpgaflow_chosen_sum #(.SIMD(SIMD), .IN_BITS(IN_BITS), .IN_SIGNED(IN_SIGNED), .OUT_BITS(OUT_BITS)) dot (
                    .clk(clk), .step(step), .chosen(row), .values(values), .sum(sum));
            end
        end
        if (SIGNS == 0) begin : plain
            assign all = 0;
            assign dots = sums;
        end else begin : less
            reg [PE*OUT_BITS-1:0] kept;
            integer i;
            always @(posedge clk) if (step)
                for (i = 0; i < PE; i = i + 1)
                    kept[i*OUT_BITS +: OUT_BITS] <= (sums[i*OUT_BITS +: OUT_BITS] << 1) - all;
            assign dots = kept;
        end
    endgenerate
endmodule

// sum(w * x) by planes: bit i of a number weighs 2**i, the sign's -2**i. 1 + ceil(log2(SIMD / 6) / 2) steps, and those of
// the sum over all pairs of planes.
module fpgaflow_plane_dot #(
    parameter SIMD = 1,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter WEIGHT_BITS = 1,
    parameter WEIGHT_SIGNED = 0,
    parameter OUT_BITS = 1
) (
    input wire clk,
    input wire step,
    input wire [SIMD*WEIGHT_BITS-1:0] weights,
    input wire [SIMD*IN_BITS-1:0] values,
    output wire [OUT_BITS-1:0] dot
);
    localparam BITS = $clog2(SIMD + 1);
    wire [WEIGHT_BITS*IN_BITS*OUT_BITS-1:0] parts;
    genvar i, j, l;
    generate
        for (i = 0; i < WEIGHT_BITS; i = i + 1) begin : weight
            for (j = 0; j < IN_BITS; j = j + 1) begin : value
                localparam W = (WEIGHT_SIGNED != 0 && i == WEIGHT_BITS - 1) ? 1 : 0;
                localparam V = (IN_SIGNED != 0 && j == IN_BITS - 1) ? 1 : 0;
                wire [SIMD-1:0] common;
                wire [BITS-1:0] count;
                wire [OUT_BITS+BITS-1:0] part = {{OUT_BITS{1'b0}}, count} << (i + j);
                for (l = 0; l < SIMD; l = l + 1) begin : simd
                    assign common[l] = weights[l*WEIGHT_BITS+i] & values[l*IN_BITS+j];
                end
                fpgaflow_ones #(.COUNT(SIMD), .OUT_BITS(BITS)) ones (
                    .clk(clk), .step(step), .x(common), .y(count));
                assign parts[(i*IN_BITS+j)*OUT_BITS +: OUT_BITS] =
                    W != V ? {OUT_BITS{1'b0}} - part[OUT_BITS-1:0] : part[OUT_BITS-1:0];
            end
        end
    endgenerate
    fpgaflow_sum #(.COUNT(WEIGHT_BITS*IN_BITS), .BITS(OUT_BITS), .OUT_BITS(OUT_BITS)) sum (
        .clk(clk), .step(step), .x(parts), .y(dot));
endmodule

// The sum of those of SIMD inputs whose bit is set, in ceil(log2(SIMD) / 2) steps behind a register.
module fpgaflow_chosen_sum #(
    parameter SIMD = 1,
    parameter IN_BITS = 1,
    parameter IN_SIGNED = 0,
    parameter OUT_BITS = 1
) (
    input wire clk,
    input wire step,
    input wire [SIMD-1:0] chosen,
    input wire [SIMD*IN_BITS-1:0] values,
    output wire [OUT_BITS-1:0] sum
);
    reg [SIMD*IN_BITS-1:0] kept;
    integer l;
    always @(posedge clk) if (step)
        for (l = 0; l < SIMD; l = l + 1)
            kept[l*IN_BITS +: IN_BITS] <= chosen[l] ? values[l*IN_BITS +: IN_BITS] : {IN_BITS{1'b0}};
    fpgaflow_sum #(.COUNT(SIMD), .BITS(IN_BITS), .SIGNED(IN_SIGNED), .OUT_BITS(OUT_BITS)) total (
        .clk(clk), .step(step), .x(kept), .y(sum));
endmodule

`default_nettype wire
