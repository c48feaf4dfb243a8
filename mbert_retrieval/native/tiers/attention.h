// Softmax attention of one head of one packed sequence, and its gradient: rotation, scores, softmax and
// weighted sum, with keys and values in the cache. The backward pass stores nothing of the forward pass,
// but computes the scores of a few queries again. Arithmetic is in float32 for any type of input.
// Included by a tier's file, after simd.h.

constexpr int TILE = 2 * REGISTER;  // keys per matrix product
static_assert(TILE <= MOST_TILE && QUERIES <= MOST_QUERIES && QUERIES % SCORED_QUERIES == 0);

// One row of queries or keys, rotated by halves (Su et al. 2021) and multiplied by `scale`.
template <typename Number>
INLINED void rotate_row(const Number* x, const float* cosine, const float* sine, int64_t half,
                        float scale, float* out) {
  for (int64_t d = 0; d < half; ++d) {
    const float first = to_float(x[d]), second = to_float(x[half + d]);
    out[d] = scale * (first * cosine[d] - second * sine[d]);
    out[half + d] = scale * (second * cosine[d] + first * sine[d]);
  }
}

// The queries first..last - 1, and the keys from..to - 1 that any of them attends to.
struct Block {
  int64_t first, last, from, to;

  Block(int64_t at, int64_t length, int64_t reach)
      : first(at),
        last(smaller(at + QUERIES, length)),
        from(larger(0, first - reach)),
        to(smaller(length, last + reach)) {}
  int64_t first_tile() const { return from / TILE; }
  int64_t last_tile() const { return (to + TILE - 1) / TILE; }
};

INLINED void write_column(const float* row, int64_t j, int64_t dimension, float* tiles) {
  float* column = tiles + j / TILE * dimension * TILE + j % TILE;
  for (int64_t d = 0; d < dimension; ++d) column[d * TILE] = row[d];
}

// scores[i][tile] of ROWS queries against all keys of the tiles first..last - 1
template <int ROWS>
INLINED void score_tiles(const float* queries, const float* keys, int64_t dimension, int64_t first,
                         int64_t last, int64_t stride, float* scores) {
  for (int64_t tile = first; tile < last; ++tile) {
    const float* k = keys + tile * dimension * TILE;
    Floats sum[ROWS][2] = {};
    for (int64_t d = 0; d < dimension; ++d) {
      const Floats low = get(k + d * TILE), high = get(k + d * TILE + REGISTER);
      for (int i = 0; i < ROWS; ++i) {
        sum[i][0] += low * queries[i * dimension + d];
        sum[i][1] += high * queries[i * dimension + d];
      }
    }
    for (int i = 0; i < ROWS; ++i) {
      put(scores + i * stride + tile * TILE, sum[i][0]);
      put(scores + i * stride + tile * TILE + REGISTER, sum[i][1]);
    }
  }
}

// Replace a row's scores first..last - 1 (entire registers) by their exponentials for the keys
// from..to - 1 that the query attends to, and by zero for the others. Returns 1 / their sum.
INLINED float softmax_row(float* scores, int64_t first, int64_t last, int64_t from, int64_t to) {
  fill(scores + first, from - first, LOWEST);
  fill(scores + to, last - to, LOWEST);
  Floats most = Floats{} + LOWEST;
  for (int64_t j = first; j < last; j += REGISTER) most = larger(most, get(scores + j));
  const float highest = highest_of(most);
  Floats total{};
  for (int64_t j = first; j < last; j += REGISTER) {
    put(scores + j, exponential(get(scores + j) - highest));
    total += get(scores + j);
  }
  const float sum = sum_of(total);
  fill(scores + first, from - first, 0.0f);
  fill(scores + to, last - to, 0.0f);
  return 1 / sum;
}

// out[i] = sum over keys from..to - 1 of scores[i][key] * values[key], for ROWS queries and WIDTH
// registers of the dimensions from d on
template <int ROWS, int WIDTH>
INLINED void weighted_columns(const float* scores, int64_t stride, const float* values, int64_t from,
                              int64_t to, int64_t dimension, int64_t d, float* out) {
  Floats sum[ROWS][WIDTH] = {};
  for (int64_t j = from; j < to; ++j) {
    Floats value[WIDTH];
    for (int w = 0; w < WIDTH; ++w) value[w] = get(values + j * dimension + d + w * REGISTER);
    for (int i = 0; i < ROWS; ++i)
      for (int w = 0; w < WIDTH; ++w) sum[i][w] += value[w] * scores[i * stride + j];
  }
  for (int i = 0; i < ROWS; ++i)
    for (int w = 0; w < WIDTH; ++w) put(out + i * dimension + d + w * REGISTER, sum[i][w]);
}

template <int ROWS>
INLINED void weighted_sums(const float* scores, int64_t stride, const float* values, int64_t from,
                           int64_t to, int64_t dimension, float* out) {
  int64_t d = 0;
  for (; d + 2 * REGISTER <= dimension; d += 2 * REGISTER)
    weighted_columns<ROWS, 2>(scores, stride, values, from, to, dimension, d, out);
  for (; d < dimension; d += REGISTER)
    weighted_columns<ROWS, 1>(scores, stride, values, from, to, dimension, d, out);
}

// Write rotated keys in tiles, and also in rows for the backward pass (else null).
template <typename Number>
INLINED void lay_keys(const AttentionBatch<Number>& batch, const Head& head, float* tiles, float* rows) {
  const auto [start, length, number] = head;
  const int64_t dimension = batch.dimension, half = dimension / 2;
  fill(tiles, (length + TILE - 1) / TILE * dimension * TILE, 0.0f);
  float own[MOST_HEAD];
  for (int64_t j = 0; j < length; ++j) {
    const int64_t token = start + j;
    float* row = rows ? rows + j * dimension : own;
    rotate_row(batch.at(token, 1, number), batch.cosine + token * half, batch.sine + token * half, half,
               1.0f, row);
    write_column(row, j, dimension, tiles);
  }
}

// The block's softmax before normalisation: exponentials in scratch.scores, and the factors that
// normalise them in inverse_sums.
template <typename Number>
INLINED void score_block(const AttentionBatch<Number>& batch, const Block& block, const Head& head,
                         int64_t reach, int64_t stride, const AttentionScratch& scratch,
                         float* inverse_sums) {
  const auto [start, length, number] = head;
  const int64_t dimension = batch.dimension, half = dimension / 2;
  const float scale = 1 / __builtin_sqrtf(static_cast<float>(dimension));
  for (int64_t i = block.first; i < block.last; ++i)
    rotate_row(batch.at(start + i, 0, number), batch.cosine + (start + i) * half,
               batch.sine + (start + i) * half, half, scale,
               scratch.queries + (i - block.first) * dimension);
  for (int i = 0; i < QUERIES && block.first + i < block.last; i += SCORED_QUERIES)
    score_tiles<SCORED_QUERIES>(scratch.queries + i * dimension, scratch.keys, dimension,
                                block.first_tile(), block.last_tile(), stride,
                                scratch.scores + i * stride);
  for (int64_t i = block.first; i < block.last; ++i)
    inverse_sums[i - block.first] =
        softmax_row(scratch.scores + (i - block.first) * stride, block.first_tile() * TILE,
                    block.last_tile() * TILE, larger(0, i - reach), smaller(length, i + reach + 1));
}

template <typename Number>
void attend_head(const AttentionBatch<Number>& batch, const Head& head, const AttentionScratch& scratch) {
  const auto [start, length, number] = head;
  const int64_t dimension = batch.dimension;
  const int64_t stride = (length + TILE - 1) / TILE * TILE;
  fill(scratch.queries, QUERIES * dimension, 0.0f);
  lay_keys(batch, head, scratch.keys, nullptr);
  for (int64_t j = 0; j < length; ++j) {
    const Number* value = batch.at(start + j, 2, number);
    for (int64_t d = 0; d < dimension; ++d) scratch.values[j * dimension + d] = to_float(value[d]);
  }
  const int64_t reach = batch.window < 0 ? length : batch.window;
  float sums[QUERIES * MOST_HEAD], inverse_sums[QUERIES];
  for (int64_t first = 0; first < length; first += QUERIES) {
    const Block block(first, length, reach);
    score_block(batch, block, head, reach, stride, scratch, inverse_sums);
    for (int i = 0; i < QUERIES && first + i < block.last; i += SCORED_QUERIES)
      weighted_sums<SCORED_QUERIES>(scratch.scores + i * stride, stride, scratch.values, block.from,
                                    block.to, dimension, sums + i * dimension);
    for (int64_t i = first; i < block.last; ++i) {
      Number* out = batch.out + ((start + i) * batch.heads + number) * dimension;
      for (int64_t d = 0; d < dimension; ++d)
        from_float(sums[(i - first) * dimension + d] * inverse_sums[i - first], out + d);
    }
  }
}

// sums[j] += sum over QUERIES rows i of weights[i][j] * rows[i], for KEYS keys from j on and WIDTH
// registers of the dimensions from d on
template <int KEYS, int WIDTH>
INLINED void scatter_some(const float* weights, int64_t stride, const float* rows, int64_t j, int64_t d,
                          int64_t dimension, float* sums) {
  Floats sum[KEYS][WIDTH];
  for (int a = 0; a < KEYS; ++a)
    for (int b = 0; b < WIDTH; ++b) sum[a][b] = get(sums + (j + a) * dimension + d + b * REGISTER);
  for (int i = 0; i < QUERIES; ++i) {
    Floats row[WIDTH];
    for (int b = 0; b < WIDTH; ++b) row[b] = get(rows + i * dimension + d + b * REGISTER);
    for (int a = 0; a < KEYS; ++a)
      for (int b = 0; b < WIDTH; ++b) sum[a][b] += row[b] * weights[i * stride + j + a];
  }
  for (int a = 0; a < KEYS; ++a)
    for (int b = 0; b < WIDTH; ++b) put(sums + (j + a) * dimension + d + b * REGISTER, sum[a][b]);
}

// the same for the keys from..to - 1 and all dimensions
INLINED void scatter_sums(const float* weights, int64_t stride, const float* rows, int64_t from,
                          int64_t to, int64_t dimension, float* sums) {
  constexpr int KEYS = 4, WIDTH = SCATTERED / KEYS;
  for (int64_t d = 0; d < dimension;) {
    const bool is_wide = d + WIDTH * REGISTER <= dimension;
    int64_t j = from;
    for (; j + KEYS <= to && is_wide; j += KEYS)
      scatter_some<KEYS, WIDTH>(weights, stride, rows, j, d, dimension, sums);
    for (; j < to && is_wide; ++j) scatter_some<1, WIDTH>(weights, stride, rows, j, d, dimension, sums);
    for (; j < to; ++j) scatter_some<1, 1>(weights, stride, rows, j, d, dimension, sums);
    d += is_wide ? WIDTH * REGISTER : REGISTER;
  }
}

// Replace a row's exponentials by probabilities p, and the gradients of the probabilities by those of
// the scores: p * (gradient - sum of p * gradient).
INLINED void softmax_gradients(float* scores, float* gradients, float inverse_sum, int64_t first,
                               int64_t last) {
  Floats total{};
  for (int64_t j = first; j < last; j += REGISTER) {
    put(scores + j, get(scores + j) * inverse_sum);
    total += get(scores + j) * get(gradients + j);
  }
  const float sum = sum_of(total);
  for (int64_t j = first; j < last; j += REGISTER)
    put(gradients + j, get(scores + j) * (get(gradients + j) - sum));
}

// Rotate a gradient back, and write it.
template <typename Number>
INLINED void unrotate_row(const float* x, const float* cosine, const float* sine, int64_t half,
                          float scale, Number* out) {
  for (int64_t d = 0; d < half; ++d) {
    from_float(scale * (x[d] * cosine[d] + x[half + d] * sine[d]), out + d);
    from_float(scale * (x[half + d] * cosine[d] - x[d] * sine[d]), out + half + d);
  }
}

template <typename Number>
void attend_head_backward(const AttentionBatch<Number>& batch, const Head& head,
                          const AttentionScratch& scratch) {
  const auto [start, length, number] = head;
  const int64_t dimension = batch.dimension, half = dimension / 2;
  const int64_t stride = (length + TILE - 1) / TILE * TILE;
  const float scale = 1 / __builtin_sqrtf(static_cast<float>(dimension));
  fill(scratch.key_gradients, length * dimension, 0.0f);
  fill(scratch.value_gradients, length * dimension, 0.0f);
  lay_keys(batch, head, scratch.keys, scratch.key_rows);
  fill(scratch.values, stride * dimension, 0.0f);  // in tiles, unlike in the forward pass
  float row[MOST_HEAD];
  for (int64_t j = 0; j < length; ++j) {
    const Number* value = batch.at(start + j, 2, number);
    for (int64_t d = 0; d < dimension; ++d) row[d] = to_float(value[d]);
    write_column(row, j, dimension, scratch.values);
  }
  const int64_t reach = batch.window < 0 ? length : batch.window;
  float sums[QUERIES * MOST_HEAD], inverse_sums[QUERIES];
  for (int64_t first = 0; first < length; first += QUERIES) {
    const Block block(first, length, reach);
    const int64_t begin = block.first_tile() * TILE, end = block.last_tile() * TILE;
    fill(scratch.queries, QUERIES * dimension, 0.0f);  // rows beyond the sequence add nothing
    fill(scratch.outputs, QUERIES * dimension, 0.0f);
    score_block(batch, block, head, reach, stride, scratch, inverse_sums);
    for (int64_t i = first; i < block.last; ++i) {
      const Number* gradient = batch.gradients + ((start + i) * batch.heads + number) * dimension;
      for (int64_t d = 0; d < dimension; ++d)
        scratch.outputs[(i - first) * dimension + d] = to_float(gradient[d]);
    }
    for (int i = 0; i < QUERIES; i += SCORED_QUERIES)
      score_tiles<SCORED_QUERIES>(scratch.outputs + i * dimension, scratch.values, dimension,
                                  block.first_tile(), block.last_tile(), stride,
                                  scratch.score_gradients + i * stride);
    for (int64_t i = 0; i < QUERIES; ++i) {
      float* scores = scratch.scores + i * stride;
      float* gradients = scratch.score_gradients + i * stride;
      if (first + i < block.last) {
        softmax_gradients(scores, gradients, inverse_sums[i], begin, end);
      } else {
        fill(scores + begin, end - begin, 0.0f);
        fill(gradients + begin, end - begin, 0.0f);
      }
    }
    for (int i = 0; i < QUERIES; i += SCORED_QUERIES)
      weighted_sums<SCORED_QUERIES>(scratch.score_gradients + i * stride, stride, scratch.key_rows,
                                    block.from, block.to, dimension, sums + i * dimension);
    scatter_sums(scratch.score_gradients, stride, scratch.queries, block.from, block.to, dimension,
                 scratch.key_gradients);
    scatter_sums(scratch.scores, stride, scratch.outputs, block.from, block.to, dimension,
                 scratch.value_gradients);
    for (int64_t i = first; i < block.last; ++i)
      unrotate_row(sums + (i - first) * dimension, batch.cosine + (start + i) * half,
                   batch.sine + (start + i) * half, half, scale,
                   batch.out + batch.position(start + i, 0, number));
  }
  for (int64_t j = 0; j < length; ++j) {
    const int64_t token = start + j;
    unrotate_row(scratch.key_gradients + j * dimension, batch.cosine + token * half,
                 batch.sine + token * half, half, 1.0f, batch.out + batch.position(token, 1, number));
    Number* out = batch.out + batch.position(token, 2, number);
    for (int64_t d = 0; d < dimension; ++d)
      from_float(scratch.value_gradients[j * dimension + d], out + d);
  }
}
