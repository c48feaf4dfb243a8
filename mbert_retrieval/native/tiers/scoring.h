// Scores of passages for a query. Included by a tier's file, after products.h and the tier's
// unpack_planes(), which looks up bucket numbers of up to four bits in registers.

// Write 8 / bits * bytes bucket values plus OFFSET, plane by plane. May write UNPACKED_SLACK bytes more.
INLINED void unpack_row(const PassageVectors& passage, int64_t row, Operand* out) {
  const uint8_t* packed = passage.residuals + row * passage.bytes;
  const int bits = passage.bits, mask = (1 << bits) - 1;
  for (int p = 0; p < 8 / bits; ++p) {
    Operand* plane = out + p * passage.bytes;
    int64_t j =
        bits <= 4 ? unpack_plane(packed, passage.bytes, p * bits, mask, passage.buckets, plane) : 0;
    for (; j < passage.bytes; ++j)
      plane[j] = static_cast<Operand>(passage.buckets[(packed[j] >> (p * bits)) & mask] + OFFSET);
  }
}

// SCORE_ROWS passage vectors by BLOCKS blocks of 16 query vectors.
template <int BLOCKS, typename Code>
INLINED void max_sim_rows(const PassageVectors& passage, const Int8Query& query, int64_t first_lane,
                          const uint8_t* unpacked, int64_t width, const int64_t* rows, float* best) {
  const int64_t groups = query.padded / GROUP;
  Ints sum[SCORE_ROWS][BLOCKS * PER_BLOCK] = {};
  add_groups<SCORE_ROWS, BLOCKS>(unpacked, width, query.vectors + first_lane * groups * 4, groups, sum);
  for (int c = 0; c < BLOCKS * PER_BLOCK; ++c) {
    const int64_t lane = first_lane + c * REGISTER;
    const Floats factor = get(query.factors + lane);
    Floats top = get(best + lane);
    for (int i = 0; i < SCORE_ROWS; ++i) {
      const int64_t code =
          smaller(static_cast<const Code*>(passage.codes)[rows[i]], passage.last_centroid);
      top = larger(top, get(query.table + code * query.lanes + lane) +
                            factor * __builtin_convertvector(sum[i][c], Floats));
    }
    put(best + lane, top);
  }
}

template <typename Code>
void max_sim(const PassageVectors& passage, const Int8Query& query, uint8_t* scratch, float* best) {
  const int64_t width = query.padded * static_cast<int64_t>(sizeof(Operand)) + UNPACKED_SLACK;
  fill(best, query.lanes, -1e30f);
  for (int64_t t = 0; t < passage.count; t += SCORE_ROWS) {
    int64_t rows[SCORE_ROWS];
    for (int i = 0; i < SCORE_ROWS; ++i) {
      rows[i] = smaller(t + i, passage.count - 1);  // repeating the last one does not change a maximum
      __builtin_prefetch(passage.residuals + (rows[i] + 2 * SCORE_ROWS) * passage.bytes);
      unpack_row(passage, rows[i], reinterpret_cast<Operand*>(scratch + i * width));
    }
    int64_t lane = 0;
    for (; lane + SCORE_BLOCKS * LANES <= query.lanes; lane += SCORE_BLOCKS * LANES)
      max_sim_rows<SCORE_BLOCKS, Code>(passage, query, lane, scratch, width, rows, best);
    for (; lane < query.lanes; lane += LANES)
      max_sim_rows<1, Code>(passage, query, lane, scratch, width, rows, best);
  }
}

typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef uint8_t Bytes32 __attribute__((vector_size(32)));

template <typename Levels, typename Code>
INLINED uint32_t highest_levels(const Code* codes, int64_t count, uint64_t last, const uint8_t* levels,
                                int64_t width) {
  Levels best{};
  for (int64_t t = 0; t < count; ++t) {
    const uint64_t code = codes[t] < last ? codes[t] : last;
    const Levels row = get<Levels>(levels + code * width);
    best = row > best ? row : best;
  }
  uint32_t sum = 0;
  for (int i = 0; i < static_cast<int>(sizeof(Levels)); ++i) sum += best[i];
  return sum;
}

template <typename Code>
uint32_t level_sum(const Code* codes, int64_t count, uint64_t last, const uint8_t* levels,
                   int64_t width) {
  uint32_t sum = 0;
  int64_t first = 0;
  for (; first + 32 <= width; first += 32)
    sum += highest_levels<Bytes32>(codes, count, last, levels + first, width);
  if (first < width) sum += highest_levels<Bytes16>(codes, count, last, levels + first, width);
  return sum;
}

void widen_range(const float* table, int64_t begin, int64_t end, int64_t lanes, float* low, float* high) {
  for (int64_t lane = 0; lane < lanes; lane += REGISTER) {
    Floats least = get(low + lane), most = get(high + lane);
    for (int64_t c = begin; c < end; ++c) {
      least = smaller(least, get(table + c * lanes + lane));
      most = larger(most, get(table + c * lanes + lane));
    }
    put(low + lane, least);
    put(high + lane, most);
  }
}

void to_levels(const float* table, int64_t begin, int64_t end, int64_t lanes, const float* high,
               float inverse_step, uint8_t* levels) {
  for (int64_t c = begin; c < end; ++c) {
    const float* row = table + c * lanes;
    uint8_t* out = levels + c * lanes;
    for (int64_t lane = 0; lane < lanes; ++lane)
      out[lane] = static_cast<uint8_t>(
          static_cast<int32_t>(larger(255.5f + (row[lane] - high[lane]) * inverse_step, 0.0f)));
  }
}

bool any_at_least(const uint8_t* levels, const uint8_t* thresholds, int64_t lanes) {
  uint8_t any = 0;
  for (int64_t lane = 0; lane < lanes; ++lane) any |= levels[lane] >= thresholds[lane];
  return any;
}
