/* A batch of windows on a text, as the sequences that its documents are: none sees another, and each counts its
 * positions from 0. What a document gets is then the same wherever it stands, to the bit. A document begins with the
 * token that ends the one before, as a text does that is sampled from nothing; what stands before the first such token
 * of a window is the rest of a document. */
#ifndef DOCUMENTS_H
#define DOCUMENTS_H

#include "../base/batch.h"

/* starts (rows + 1) and positions (rows) become the batch's offsets and positions; a batch that has its own offsets
 * or ends stays as it is. Nothing of it may be in the KV cache. */
void batch_split(struct batch *batch, int32_t first, int32_t *starts, int32_t *positions);

/* Where the last document of n tokens begins. */
size_t document_start(const int32_t *tokens, size_t n, int32_t first);

#endif
