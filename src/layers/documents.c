/* See documents.h. */
#include "documents.h"

void batch_split(struct batch *batch, int32_t first, int32_t *starts, int32_t *positions) {
    const size_t rows = batch_rows(batch), T = batch->T;
    size_t B = 0, longest = 0;
    if (batch->offsets || batch->ends) return;
    for (size_t r = 0; r < rows; r++) {
        if (r % T == 0 || batch->tokens[r] == first) starts[B++] = (int32_t)r;
        positions[r] = (int32_t)r - starts[B - 1];
        if ((size_t)positions[r] >= longest) longest = (size_t)positions[r] + 1;
    }
    starts[B] = (int32_t)rows;
    batch->B = B;
    batch->T = longest;
    batch->offsets = starts;
    batch->positions = positions;
}

size_t document_start(const int32_t *tokens, size_t n, int32_t first) {
    while (n > 1 && tokens[n - 1] != first) n--;
    return n > 0 ? n - 1 : 0;
}
