// Scores of centroids for 16 vectors at a time. Included by a tier's file, after simd.h.

// sum[i][r] += x . rows[i] for 16 vectors x, transposed to tile (D, 16), and COUNT rows.
template <int COUNT>
INLINED void add_products(const float* tile, const float* rows, int64_t dimension,
                          Floats (&sum)[COUNT][PER_BLOCK]) {
  for (int64_t d = 0; d < dimension; ++d) {
    Floats x[PER_BLOCK];
    for (int r = 0; r < PER_BLOCK; ++r) x[r] = get(tile + d * LANES + r * REGISTER);
    for (int i = 0; i < COUNT; ++i)
      for (int r = 0; r < PER_BLOCK; ++r) sum[i][r] += x[r] * rows[i * dimension + d];
  }
}

// Call visit(c, scores in registers) for COUNT centroids.
template <int COUNT, typename Visit>
INLINED void visit_some(const float* tile, const float* centroids, const float* half_norms, int64_t c,
                        int64_t dimension, Visit visit) {
  Floats sum[COUNT][PER_BLOCK];
  for (int i = 0; i < COUNT; ++i)
    for (int r = 0; r < PER_BLOCK; ++r) sum[i][r] = Floats{} - (half_norms ? half_norms[c + i] : 0.0f);
  add_products<COUNT>(tile, centroids + c * dimension, dimension, sum);
  for (int i = 0; i < COUNT; ++i) visit(c + i, sum[i]);
}

template <typename Visit>
INLINED void visit_scores(const float* tile, const float* centroids, const float* half_norms,
                          int64_t count, int64_t dimension, Visit visit) {
  int64_t c = 0;
  for (; c + CENTROIDS <= count; c += CENTROIDS)
    visit_some<CENTROIDS>(tile, centroids, half_norms, c, dimension, visit);
  for (; c < count; ++c) visit_some<1>(tile, centroids, half_norms, c, dimension, visit);
}

void best_of_block(const float* tile, const float* centroids, const float* half_norms, int64_t count,
                   int64_t dimension, int32_t first, float* best_score, int32_t* best_number) {
  Floats best[PER_BLOCK];
  Ints number[PER_BLOCK];
  for (int r = 0; r < PER_BLOCK; ++r) {
    best[r] = get(best_score + r * REGISTER);
    number[r] = get<Ints>(best_number + r * REGISTER);
  }
  visit_scores(tile, centroids, half_norms, count, dimension,
               [&](int64_t c, const Floats* scores) INLINED_LAMBDA {
                 for (int r = 0; r < PER_BLOCK; ++r) {
                   const Ints better = scores[r] > best[r];
                   best[r] = better ? scores[r] : best[r];
                   number[r] = better ? Ints{} + static_cast<int32_t>(first + c) : number[r];
                 }
               });
  for (int r = 0; r < PER_BLOCK; ++r) {
    put(best_score + r * REGISTER, best[r]);
    put(best_number + r * REGISTER, number[r]);
  }
}

void scores_of_block(const float* tile, const float* centroids, const float* half_norms, int64_t count,
                     int64_t dimension, float* scores, int64_t stride) {
  visit_scores(tile, centroids, half_norms, count, dimension,
               [&](int64_t c, const Floats* row) INLINED_LAMBDA {
                 for (int r = 0; r < PER_BLOCK; ++r) put(scores + c * stride + r * REGISTER, row[r]);
               });
}

void best_groups(const float* scores, int64_t count, int p, int32_t* groups) {
  float top[LANES][32];
  for (auto& lane : top) fill(lane, p, LOWEST);
  for (int r = 0; r < PER_BLOCK; ++r) {
    Floats last = Floats{} + LOWEST;
    for (int64_t c = 0; c < count; ++c) {
      const float* row = scores + c * LANES + r * REGISTER;
      const Ints better = get(row) > last;
      if (!any_of(better)) continue;
      for (int i = 0; i < REGISTER; ++i) {
        if (!better[i]) continue;
        const int lane = r * REGISTER + i;
        int rank = p - 1;
        for (; rank > 0 && top[lane][rank - 1] < row[i]; --rank) {
          top[lane][rank] = top[lane][rank - 1];
          groups[lane * p + rank] = groups[lane * p + rank - 1];
        }
        top[lane][rank] = row[i];
        groups[lane * p + rank] = static_cast<int32_t>(c);
        last[i] = top[lane][p - 1];
      }
    }
  }
}

void bucket_numbers(const float* x, const float* centroid, const float* inverse_scale, int64_t dimension,
                    const float* cutoffs, int64_t cuts, uint8_t* numbers) {
  float residual[1024];
  for (int64_t d = 0; d < dimension; ++d) residual[d] = (x[d] - centroid[d]) * inverse_scale[d];
  for (int64_t d = 0; d < dimension; ++d) numbers[d] = 0;
  for (int64_t cut = 0; cut < cuts; ++cut)
    for (int64_t d = 0; d < dimension; ++d) numbers[d] += residual[d] > cutoffs[cut];
}
