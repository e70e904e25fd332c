// The walk through time for a processor: a thread takes some cells, one in each lane of a vector register, through the
// whole record. Their states and the networks' weights stay in its cache, and no thread waits for another.
//
// What stands between the two marks below is written by trace.py and scheme.py for the model at hand: its physics, its
// physics' gradient, and a type for each of its networks.

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
constexpr int LANES = 16, PANEL = 16, TILE = 12;
#else
constexpr int LANES = 8, PANEL = 8, TILE = 4;
#endif
constexpr int STRETCH = 16;  // days whose activations are held at once; their gradient by the weights is one matrix product

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t mask __attribute__((vector_size(4 * LANES)));

// -- arithmetic ------------------------------------------------------------------------------------------------------
// NaN must come through everywhere: a step that is not finite has to be seen.

static inline vec all(float x) { return x - vec{}; }
static inline vec as_vec(mask m) { vec x; memcpy(&x, &m, sizeof x); return x; }
static inline mask as_mask(vec x) { mask m; memcpy(&m, &x, sizeof m); return m; }
static inline vec where(mask m, vec yes, vec no) { return m ? yes : no; }
static inline vec minimum(vec a, vec b) { return ((a < b) | (a != a)) ? a : b; }
static inline vec maximum(vec a, vec b) { return ((a > b) | (a != a)) ? a : b; }
static inline vec at_least(vec x, float low) { return x < low ? all(low) : x; }
static inline vec at_most(vec x, float high) { return x > high ? all(high) : x; }
static inline vec number(mask m) { return m ? all(1.0f) : all(0.0f); }
static inline vec absolute(vec x) { return as_vec(as_mask(x) & 0x7fffffff); }

template <class F> static inline vec each(F f, vec x) {
  for (int i = 0; i < LANES; i++) x[i] = f(x[i]);
  return x;
}
template <class F> static inline vec each(F f, vec x, vec y) {
  for (int i = 0; i < LANES; i++) x[i] = f(x[i], y[i]);
  return x;
}

#ifdef __AVX512F__
static inline vec nearest(vec x) { return (vec)_mm512_roundscale_ps((__m512)x, 8); }
static inline vec scaled(vec x, vec power) { return (vec)_mm512_scalef_ps((__m512)x, (__m512)power); }
static inline vec not_above(vec x, float high) { return (vec)_mm512_min_ps((__m512)all(high), (__m512)x); }
static inline vec inverse(vec x) {  // of numbers between 1 and 1e18
  vec r = (vec)_mm512_rcp14_ps((__m512)x);
  return r + r * (1.0f - x * r);
}
#else
static inline vec nearest(vec x) { return (x + 12582912.0f) - 12582912.0f; }
static inline vec scaled(vec x, vec power) {  // power is whole and in -252 ... 254, or x is NaN
  mask n = __builtin_convertvector(at_most(at_least(power, -252), 254), mask), half = n >> 1;
  return x * as_vec((half + 127) << 23) * as_vec((n - half + 127) << 23);
}
static inline vec not_above(vec x, float high) { return at_most(x, high); }
static inline vec inverse(vec x) { return 1.0f / x; }
#endif

static inline vec exponential(vec x) {
  x = at_most(at_least(x, -104.0f), 89.0f);
  vec n = nearest(x * 1.442695041f), r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  vec p = 8.374815908e-3f + r * 1.383684596e-3f;
  p = 4.166822558e-2f + r * p, p = 1.666642017e-1f + r * p, p = 4.999999208e-1f + r * p;
  return scaled(1.0f + (r + (r * r) * p), n);
}
static inline vec logarithm(vec x) {
  mask tiny = x < 1.17549435e-38f;
  vec y = tiny ? x * 8388608.0f : x;
  mask bits = as_mask(y), exponent = (bits >> 23) - 126;
  vec m = as_vec((bits & 0x007fffff) | 0x3f000000), e = __builtin_convertvector(exponent, vec) - (tiny ? all(23) : all(0));
  mask low = m < 0.707106781f;
  e -= number(low), m = (low ? m + m : m) - 1.0f;
  vec z = m * m, p = 7.0376836292e-2f * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f, p = p * m - 1.2420140846e-1f, p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f, p = p * m + 2.0000714765e-1f, p = p * m - 2.4999993993e-1f, p = p * m + 3.3333331174e-1f;
  vec found = (m + ((p * m * z - e * 2.12194440e-4f) - 0.5f * z)) + e * 0.693359375f;
  found = x < INFINITY ? found : x;  // infinity and NaN stay
  found = x == 0.0f ? all(-INFINITY) : found;
  return x < 0.0f ? all(NAN) : found;
}
static inline vec logarithm_1p(vec x) {  // the rounding of 1 + x is taken back
  vec w = 1.0f + x;
  vec found = logarithm(w) - ((w - 1.0f) - x) / w;
  return (w < INFINITY) & (w > 0.0f) ? found : logarithm(w);
}
static inline vec sigmoid(vec x) { return 1.0f / (1.0f + exponential(-x)); }

// The gates' own functions: right to 1e-7 of 1, which is all that a gate is.
static inline vec power2(vec t) {
  vec n = nearest(t), f = t - n, p = 9.675541503e-3f + f * 1.327647196e-3f;
  p = 5.550713275e-2f + f * p, p = 2.402211972e-1f + f * p, p = 6.931469671e-1f + f * p;
  return scaled(1.0f + f * p, n);
}
static inline vec gate(vec x) { return inverse(1.0f + power2(not_above(x * -1.442695041f, 60.0f))); }
static inline vec squashed(vec x) { return 1.0f - 2.0f * inverse(1.0f + power2(not_above(x * 2.885390082f, 60.0f))); }

// -- matrix products -------------------------------------------------------------------------------------------------

// Factors are float32 or, where `BFLOAT16` is asked for and the processor multiplies them, pairs of bfloat16; sums and all
// that is no product are float32 always. `factors` makes those of vectors one after the other, `lane_factors` those of the
// lanes of each vector; either may leave them where they are.
#if defined BFLOAT16 && defined __AVX512BF16__
constexpr int PAIR = 2;
typedef uint32_t factor;
typedef uint32_t factor_vec __attribute__((vector_size(4 * LANES)));
static inline factor_vec rounded(vec x) { return (factor_vec)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)x)); }
static inline factor_vec paired(vec x, vec next) { return rounded(x) | rounded(next) << 16; }
static inline factor paired(float x, float next) { return paired(all(x), all(next))[0]; }
static inline vec plus_product(vec sum, factor a, factor_vec b) {
  return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)(a - factor_vec{}), (__m512bh)b);
}
static inline const factor_vec* factors(const vec* x, int count, factor_vec* room) {
  for (int k = 0; k < count; k += 2) room[k / 2] = paired(x[k], k + 1 < count ? x[k + 1] : vec{});
  return room;
}
static inline const factor* lane_factors(const vec* x, int count, int64_t& step, int days, factor* room) {
  for (int d = 0; d < days; d++, x = (const vec*)((const float*)x + step))
    for (int k = 0; k < count; k++) _mm256_storeu_si256((__m256i*)(room + (d * count + k) * LANES / 2), (__m256i)_mm512_cvtneps_pbh((__m512)x[k]));
  step = count * LANES / 2;
  return room;
}
#else
constexpr int PAIR = 1;
typedef float factor;
typedef vec factor_vec;
static inline vec paired(vec x, vec) { return x; }
static inline float paired(float x, float) { return x; }
static inline vec plus_product(vec sum, float a, vec b) { return sum + a * b; }
static inline const vec* factors(const vec* x, int, vec*) { return x; }
static inline const float* lane_factors(const vec* x, int, int64_t&, int, float*) { return (const float*)x; }
#endif

// Unrolled throughout, so that the sums stay in registers.
template <int R> static inline void panel(const factor* w, const factor_vec* x, int columns, const vec* base, vec* out) {
  vec sum[R];
#pragma GCC unroll 32
  for (int r = 0; r < R; r++) sum[r] = base[r];
  for (int k = 0; k < columns; k++) {
    const factor_vec xk = x[k];
#pragma GCC unroll 32
    for (int r = 0; r < R; r++) sum[r] = plus_product(sum[r], w[k * R + r], xk);
  }
#pragma GCC unroll 32
  for (int r = 0; r < R; r++) out[r] = sum[r];
}

// Where a matrix is not zero: rows before TOP in the columns before LEFT only, rows from BOTTOM on in those from RIGHT on.
template <int ROWS, int COLUMNS, int TOP = 0, int LEFT = COLUMNS, int BOTTOM = ROWS, int RIGHT = 0> struct Filled {
  static constexpr int begin(int row) { return row < BOTTOM ? 0 : RIGHT; }          // of the rows from this one on
  static constexpr int end(int rows) { return rows > TOP ? COLUMNS : LEFT; }        // of the rows before this one
};

// A matrix of so many rows and columns, its rows in panels: [rows / PANEL][columns][PANEL], what is left over narrower.
template <int ROWS, int COLUMNS, class Where = Filled<ROWS, COLUMNS>> struct Matrix {
  static constexpr int PAIRS = (COLUMNS + PAIR - 1) / PAIR;
  alignas(64) factor w[ROWS * PAIRS + 1];

  void pack(const float* from, int64_t by_row, int64_t by_column) {
    factor* to = w;
    auto at = [&](int r, int k) { return k < COLUMNS ? from[r * by_row + k * by_column] : 0.0f; };
    for (int j = 0; j < ROWS; j += PANEL)
      for (int k = 0; k < COLUMNS; k += PAIR)
        for (int r = j; r < std::min(j + PANEL, ROWS); r++) *to++ = paired(at(r, k), at(r, k + 1));
  }
  void times(const vec* x, const vec* base, vec* out) const {  // out = base + matrix x
    constexpr int WHOLE = ROWS / PANEL * PANEL;
    factor_vec room[PAIR > 1 ? PAIRS + 1 : 1];
    const factor_vec* made = factors(x, COLUMNS, room);
    for (int j = 0; j < WHOLE; j += PANEL) rows<PANEL>(j, made, base, out);
    if constexpr (WHOLE < ROWS) rows<ROWS - WHOLE>(WHOLE, made, base, out);
  }
  template <int R> void rows(int j, const factor_vec* x, const vec* base, vec* out) const {
    const int from = Where::begin(j) / PAIR, to = (Where::end(j + R) + PAIR - 1) / PAIR;
    panel<R>(w + j * PAIRS + from * R, x + from, to - from, base + j, out + j);
  }
};

#ifdef __AVX512F__
static inline void transpose(const vec* in, int rows, vec* out) {  // out[lane][row] = in[row][lane]
  __m512 a[16], b[16];
  for (int i = 0; i < 16; i++) a[i] = i < rows ? (__m512)in[i] : _mm512_setzero_ps();
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; j++) {
      a[i + 2 * j] = (__m512)_mm512_unpacklo_pd((__m512d)b[i + j], (__m512d)b[i + j + 2]);
      a[i + 2 * j + 1] = (__m512)_mm512_unpackhi_pd((__m512d)b[i + j], (__m512d)b[i + j + 2]);
    }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; j++) {
      b[i + j] = _mm512_shuffle_f32x4(a[i + j], a[i + j + 4], 0x88);
      b[i + j + 4] = _mm512_shuffle_f32x4(a[i + j], a[i + j + 4], 0xdd);
    }
  for (int j = 0; j < 8; j++) {
    out[j] = (vec)_mm512_shuffle_f32x4(b[j], b[j + 8], 0x88);
    out[j + 8] = (vec)_mm512_shuffle_f32x4(b[j], b[j + 8], 0xdd);
  }
}
#else
static inline void transpose(const vec* in, int rows, vec* out) {
  for (int lane = 0; lane < LANES; lane++)
    for (int r = 0; r < LANES; r++) ((float*)(out + lane))[r] = r < rows ? ((const float*)(in + r))[lane] : 0.0f;
}
#endif

template <int R, int V> static inline void outer(const factor_vec* left, const factor* right, int64_t step, int days, vec* to, int stride) {
  vec sum[R][V];
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++) sum[r][v] = to[r * stride + v];
  for (int d = 0; d < days; d++, right += step)
    for (int lane = 0; lane < LANES / PAIR; lane++, left += V)
#pragma GCC unroll 32
      for (int r = 0; r < R; r++) {
        const factor x = right[r * LANES / PAIR + lane];
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) sum[r][v] = plus_product(sum[r][v], x, left[v]);
      }
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++) to[r * stride + v] = sum[r][v];
}

// What a matrix [column][row] gathers over a stretch: the sum over days and lanes of by_row x column.
template <int ROWS, int COLUMNS, class Where = Filled<ROWS, COLUMNS>> struct Gathered {
  static constexpr int WIDE = (ROWS + LANES - 1) / LANES;  // vectors of rows
  vec sum[COLUMNS * WIDE];

  // `by_rows` and `columns` of the first day, and how many floats on those of the next are
  void add(const vec* by_rows, int64_t by_step, const vec* columns, int64_t step, int days) {
    factor room[PAIR > 1 ? STRETCH * COLUMNS * LANES / PAIR : 1];
    const factor* right = lane_factors(columns, COLUMNS, step, days, room);
    for (int j = 0; j < WIDE; j += 2) j + 1 < WIDE ? part<2>(j, by_rows, by_step, right, step, days) : part<1>(j, by_rows, by_step, right, step, days);
  }
  template <int V> void part(int j, const vec* by_rows, int64_t by_step, const factor* right, int64_t step, int days) {
    factor_vec left[STRETCH * LANES / PAIR * V];
    for (int d = 0; d < days; d++)
      for (int v = 0; v < V; v++) {
        vec turned[LANES];
        transpose((const vec*)((const float*)by_rows + d * by_step) + (j + v) * LANES, ROWS - (j + v) * LANES, turned);
        for (int lane = 0; lane < LANES; lane += PAIR) left[(d * LANES + lane) / PAIR * V + v] = paired(turned[lane], turned[lane + PAIR - 1]);
      }
    constexpr int WHOLE = COLUMNS / TILE * TILE;
    const int from = Where::begin(j * LANES) / TILE * TILE, to = Where::end((j + V) * LANES);
    for (int k = from; k < std::min(to, WHOLE); k += TILE) outer<TILE, V>(left, right + k * LANES / PAIR, step, days, sum + k * WIDE + j, WIDE);
    if constexpr (WHOLE < COLUMNS)
      if (WHOLE < to) outer<COLUMNS - WHOLE, V>(left, right + WHOLE * LANES / PAIR, step, days, sum + WHOLE * WIDE + j, WIDE);
  }
  void add_to(float* matrix) const {  // [column][row]
    for (int k = 0; k < COLUMNS; k++)
      for (int j = 0; j < ROWS; j++) matrix[k * ROWS + j] += ((const float*)(sum + k * WIDE))[j];
  }
};

static inline float total(vec x) {
  float sum = 0;
  for (int i = 0; i < LANES; i++) sum += x[i];
  return sum;
}

// -- networks --------------------------------------------------------------------------------------------------------
// A network sees some forcings and some numbers of yesterday's state, remembers something, and gives raw parameters.
// `TENSORS` come as xh2cm.model.network.Ready has them; the first is a constant of each cell.

// A recurrent cell of four blocks of gates, and a head on what it hides. The first ALONE blocks see the inputs only, the
// last ALONE what was hidden yesterday only, the others both. `Cell` says what becomes of the gates.
template <class S, class Cell_> struct Recurrent : S {
  using Cell = Cell_;
  static constexpr int H = S::WIDTH, F = S::FORCINGS, N = S::SIGHTS, K = F + N + H, GATES = 4 * H, OUT = S::GIVES;
  static constexpr int CONSTANT = GATES, MEMORY = Cell::MEMORY, TENSORS = 4;
  static constexpr int ALONE = Cell::ALONE * H, TOGETHER = GATES - ALONE;
  using Forward = Filled<GATES, K, ALONE, F + N, TOGETHER, F + N>;
  using Back = Filled<N + H, GATES, N, TOGETHER, N, ALONE>;
  struct Weights {
    Matrix<GATES, K, Forward> forward;
    Matrix<N + H, GATES, Back> back;
    Matrix<OUT, H> head;
    Matrix<H, OUT> head_back;
    vec bias[OUT];
  };
  struct Day : Cell::Day {  // what is held of a day
    vec x[K];  // before it
    vec gates[GATES], by_raw[OUT];  // on it; the way back puts gradients in place of the gates
  };
  struct Memory : Cell::Memory { vec hidden[H]; };
  struct Slopes {
    Gathered<GATES, K, Forward> matrix;
    Gathered<OUT, H> head;
    vec bias[OUT];
  };

  static void pack(const float* const* t, Weights& w) {
    w.forward.pack(t[1], 1, GATES);
    w.back.pack(t[1] + F * GATES, GATES, 1);
    for (int j = 0; j < OUT; j++) w.bias[j] = all(t[2][j]);
    w.head.pack(t[3], 1, OUT);
    w.head_back.pack(t[3], OUT, 1);
  }
  static constexpr int64_t size(int tensor) { return std::array<int64_t, 4>{GATES, K * GATES, OUT, H * OUT}[tensor]; }
  static vec* memory(Day& day, int which) { return which ? Cell::beside(day) : day.x + F + N; }
  static vec* memory(Memory& by, int which) { return which ? Cell::beside(by) : by.hidden; }
  static int remembers(int) { return H; }

  static void forward(const Weights& w, const vec* constant, const vec* forcing, const vec* sight, Day& today, Day& next, vec* raw) {
    for (int q = 0; q < F; q++) today.x[q] = forcing[S::forcing(q)];
    for (int q = 0; q < N; q++) today.x[F + q] = sight[S::sight(q)];
    w.forward.times(today.x, constant, today.gates);
    Cell::forward(today.gates, today.x + F + N, today, next, next.x + F + N);
    w.head.times(next.x + F + N, w.bias, raw);
  }
  static void backward(const Weights& w, Day& today, const vec* by_raw, Memory& by, vec* by_sight) {
    for (int j = 0; j < OUT; j++) today.by_raw[j] = by_raw[j];
    w.head_back.times(by_raw, by.hidden, by.hidden);
    vec past[N + H] = {}, by_x[N + H];
    Cell::backward(today.gates, today.x + F + N, today, by, by.hidden, past + N);
    w.back.times(today.gates, past, by_x);
    for (int q = 0; q < N; q++) by_sight[S::sight(q)] += by_x[q];
    for (int h = 0; h < H; h++) by.hidden[h] = by_x[N + h];
  }
  static void gather(const Day* days, int64_t step, int count, Slopes& slopes, vec* by_constant) {
    slopes.matrix.add(days->gates, step, days->x, step, count);
    slopes.head.add(days->by_raw, step, (const vec*)((const float*)days->x + step) + F + N, step, count);
    for (int d = 0; d < count; d++, days = (const Day*)((const float*)days + step)) {
      for (int j = 0; j < GATES; j++) by_constant[j] += days->gates[j];
      for (int j = 0; j < OUT; j++) slopes.bias[j] += days->by_raw[j];
    }
  }
  static void add_to(const Slopes& slopes, float* const* t) {
    slopes.matrix.add_to(t[1]);
    for (int j = 0; j < OUT; j++) t[2][j] += total(slopes.bias[j]);
    slopes.head.add_to(t[3]);
  }
};

template <int H> struct LstmCell {  // gates in, forget, new, out; remembers a cell state beside what it hides
  static constexpr int ALONE = 0, MEMORY = 2;
  struct Day { vec cell[H], seen[H]; };
  struct Memory { vec cell[H]; };
  template <class T> static vec* beside(T& x) { return x.cell; }

  static void forward(vec* g, const vec*, Day& today, Day& next, vec* hidden) {
    for (int h = 0; h < H; h++) {
      vec in = gate(g[h]), forget = gate(g[H + h]), new_ = squashed(g[2 * H + h]), out = gate(g[3 * H + h]);
      vec cell = forget * today.cell[h] + in * new_, seen = squashed(cell);
      g[h] = in, g[H + h] = forget, g[2 * H + h] = new_, g[3 * H + h] = out;
      today.seen[h] = seen, next.cell[h] = cell, hidden[h] = out * seen;
    }
  }
  static void backward(vec* g, const vec*, const Day& today, Memory& by, const vec* by_hidden, vec*) {
    for (int h = 0; h < H; h++) {
      vec in = g[h], forget = g[H + h], new_ = g[2 * H + h], out = g[3 * H + h], seen = today.seen[h];
      vec by_cell = by.cell[h] + by_hidden[h] * out * (1.0f - seen * seen);
      g[h] = by_cell * new_ * (in - in * in);
      g[H + h] = by_cell * today.cell[h] * (forget - forget * forget);
      g[2 * H + h] = by_cell * in * (1.0f - new_ * new_);
      g[3 * H + h] = by_hidden[h] * seen * (out - out * out);
      by.cell[h] = by_cell * forget;
    }
  }
};

template <int H> struct GruCell {  // gates new (what inputs say), reset, update, new (what was hidden says)
  static constexpr int ALONE = 1, MEMORY = 1;
  struct Day {};
  struct Memory {};
  template <class T> static vec* beside(T&) { return nullptr; }

  static void forward(vec* g, const vec* before, Day&, Day&, vec* hidden) {
    for (int h = 0; h < H; h++) {
      vec reset = gate(g[H + h]), update = gate(g[2 * H + h]), new_ = squashed(g[h] + reset * g[3 * H + h]);
      g[h] = new_, g[H + h] = reset, g[2 * H + h] = update;
      hidden[h] = new_ + update * (before[h] - new_);
    }
  }
  static void backward(vec* g, const vec* before, const Day&, Memory&, const vec* by_hidden, vec* by_before) {
    for (int h = 0; h < H; h++) {
      vec new_ = g[h], reset = g[H + h], update = g[2 * H + h];
      vec by_new = by_hidden[h] * (1.0f - update) * (1.0f - new_ * new_);
      g[h] = by_new;
      g[H + h] = by_new * g[3 * H + h] * (reset - reset * reset);
      g[2 * H + h] = by_hidden[h] * (before[h] - new_) * (update - update * update);
      g[3 * H + h] = by_new * reset;
      by_before[h] = by_hidden[h] * update;
    }
  }
};

template <class S> struct TracedCell {  // gates and their gradient as the model says: `unit` and `unit_back`
  static constexpr int H = S::WIDTH, ALONE = 0, MEMORY = S::MEMORIES, BESIDE = MEMORY > 1 ? H : 1;
  struct Day { vec cell[BESIDE]; };
  struct Memory { vec cell[BESIDE]; };
  template <class T> static vec* beside(T& x) { return x.cell; }

  static void forward(vec* g, const vec* before, Day& today, Day& next, vec* hidden) {
    for (int h = 0; h < H; h++) {
      const vec gates[4] = {g[h], g[H + h], g[2 * H + h], g[3 * H + h]}, past[2] = {before[h], today.cell[h % BESIDE]};
      vec after[2];
      S::unit(gates, past, after);
      hidden[h] = after[0];
      if (MEMORY > 1) next.cell[h % BESIDE] = after[1];
    }
  }
  static void backward(vec* g, const vec* before, const Day& today, Memory& by, const vec* by_hidden, vec* by_before) {
    for (int h = 0; h < H; h++) {
      const vec gates[4] = {g[h], g[H + h], g[2 * H + h], g[3 * H + h]}, past[2] = {before[h], today.cell[h % BESIDE]};
      const vec by_after[2] = {by_hidden[h], by.cell[h % BESIDE]};
      vec by_gates[4], by_past[2];
      S::unit_back(gates, past, by_after, by_gates, by_past);
      for (int j = 0; j < 4; j++) g[j * H + h] = by_gates[j];
      by_before[h] = by_past[0];
      if (MEMORY > 1) by.cell[h % BESIDE] = by_past[1];
    }
  }
};

template <class S> using Lstm = Recurrent<S, LstmCell<S::WIDTH>>;
template <class S> using Gru = Recurrent<S, GruCell<S::WIDTH>>;
template <class S> using Traced = Recurrent<S, TracedCell<S>>;

template <class S> struct Mlp : S {
  static constexpr int H = S::WIDTH, E = S::INNER, F = S::FORCINGS, N = S::SIGHTS, K = F + N, OUT = S::GIVES;
  static constexpr int CONSTANT = H, MEMORY = 0, TENSORS = 6;
  struct Weights {
    Matrix<H, K> first;
    Matrix<N, H> first_back;
    Matrix<E, H> second;
    Matrix<H, E> second_back;
    Matrix<OUT, E> head;
    Matrix<E, OUT> head_back;
    vec second_bias[E], bias[OUT];
  };
  struct Day { vec x[K + 1], hidden[H], inner[E], by_hidden[H], by_inner[E], by_raw[OUT]; };
  struct Memory {};
  struct Slopes {
    Gathered<H, K> first;
    Gathered<E, H> second;
    Gathered<OUT, E> head;
    vec second_bias[E], bias[OUT];
  };

  static void pack(const float* const* t, Weights& w) {
    w.first.pack(t[1], 1, H);
    w.first_back.pack(t[1] + F * H, H, 1);
    for (int j = 0; j < E; j++) w.second_bias[j] = all(t[2][j]);
    w.second.pack(t[3], 1, E);
    w.second_back.pack(t[3], E, 1);
    for (int j = 0; j < OUT; j++) w.bias[j] = all(t[4][j]);
    w.head.pack(t[5], 1, OUT);
    w.head_back.pack(t[5], OUT, 1);
  }
  static constexpr int64_t size(int tensor) { return std::array<int64_t, 6>{H, K * H, E, H * E, OUT, E * OUT}[tensor]; }
  static vec* memory(Day&, int) { return nullptr; }
  static vec* memory(Memory&, int) { return nullptr; }
  static int remembers(int) { return 0; }
  static vec leaky(vec x) { return x > 0.0f ? x : 0.01f * x; }
  static vec slope(vec y) { return y > 0.0f ? all(1.0f) : all(0.01f); }

  static void forward(const Weights& w, const vec* constant, const vec* forcing, const vec* sight, Day& today, Day&, vec* raw) {
    for (int q = 0; q < F; q++) today.x[q] = forcing[S::forcing(q)];
    for (int q = 0; q < N; q++) today.x[F + q] = sight[S::sight(q)];
    w.first.times(today.x, constant, today.hidden);
    for (int h = 0; h < H; h++) today.hidden[h] = leaky(today.hidden[h]);
    w.second.times(today.hidden, w.second_bias, today.inner);
    for (int e = 0; e < E; e++) today.inner[e] = leaky(today.inner[e]);
    w.head.times(today.inner, w.bias, raw);
  }
  static void backward(const Weights& w, Day& today, const vec* by_raw, Memory&, vec* by_sight) {
    for (int j = 0; j < OUT; j++) today.by_raw[j] = by_raw[j];
    vec zero[H + E + N] = {}, by_seen[N + 1];
    w.head_back.times(by_raw, zero, today.by_inner);
    for (int e = 0; e < E; e++) today.by_inner[e] *= slope(today.inner[e]);
    w.second_back.times(today.by_inner, zero, today.by_hidden);
    for (int h = 0; h < H; h++) today.by_hidden[h] *= slope(today.hidden[h]);
    w.first_back.times(today.by_hidden, zero, by_seen);
    for (int q = 0; q < N; q++) by_sight[S::sight(q)] += by_seen[q];
  }
  static void gather(const Day* days, int64_t step, int count, Slopes& slopes, vec* by_constant) {
    slopes.first.add(days->by_hidden, step, days->x, step, count);
    slopes.second.add(days->by_inner, step, days->hidden, step, count);
    slopes.head.add(days->by_raw, step, days->inner, step, count);
    for (int d = 0; d < count; d++, days = (const Day*)((const float*)days + step)) {
      for (int h = 0; h < H; h++) by_constant[h] += days->by_hidden[h];
      for (int e = 0; e < E; e++) slopes.second_bias[e] += days->by_inner[e];
      for (int j = 0; j < OUT; j++) slopes.bias[j] += days->by_raw[j];
    }
  }
  static void add_to(const Slopes& slopes, float* const* t) {
    slopes.first.add_to(t[1]);
    for (int e = 0; e < E; e++) t[2][e] += total(slopes.second_bias[e]);
    slopes.second.add_to(t[3]);
    for (int j = 0; j < OUT; j++) t[4][j] += total(slopes.bias[j]);
    slopes.head.add_to(t[5]);
  }
};

template <class... N> using All = std::tuple<N...>;

//<model>
//</model>

// -- the walk --------------------------------------------------------------------------------------------------------

template <class> struct Of;
template <class... N> struct Of<std::tuple<N...>> {
  using Weights = std::tuple<typename N::Weights...>;
  using Day = std::tuple<typename N::Day...>;
  using Memory = std::tuple<typename N::Memory...>;
  using Slopes = std::tuple<typename N::Slopes...>;
  using Constant = std::tuple<std::array<vec, N::CONSTANT>...>;
};
constexpr size_t NETS = std::tuple_size<Nets>::value;
template <size_t I> using Net = typename std::tuple_element<I, Nets>::type;
template <class F, size_t... I> static inline void nets_in_turn(F&& f, std::index_sequence<I...>) { (f(std::integral_constant<size_t, I>{}), ...); }
template <class F> static inline void nets(F&& f) { nets_in_turn(f, std::make_index_sequence<NETS>{}); }

using Weights = Of<Nets>::Weights;
using Memory = Of<Nets>::Memory;
using Slopes = Of<Nets>::Slopes;
using Constant = Of<Nets>::Constant;
struct Day { vec state[STATE], raw[RAW]; Of<Nets>::Day net; };
constexpr int64_t STEP = sizeof(Day) / sizeof(float);

// Everything is float32 and dense; `folds`, `cells` and `days` lead. What is not wanted is a null pointer.
struct Walk {
  int64_t folds, cells, days, threads;
  const float *forcing, *standard;  // [fold][cell][day][FORCING]
  const float* const* fixed;        // FIXED times [fold][cell]
  const float* const* tensors;      // of each net: [fold][cell][row], then [fold][...]
  const float* const* carry;        // STATE times [fold][cell], then of each net [fold][cell][unit]
  float* const* after;              // as `carry`
  float* const* outputs;            // OUTPUTS times [fold][cell][day]
  float* borders;                   // what is carried into each stretch
  const float* const* by_after;     // from here on for the way back: gradients, shaped as what they belong to
  const float* const* by_outputs;
  float* const* by_fixed;
  float* const* by_tensors;
  float* const* by_carry;
};

struct Block {  // the cells in the lanes of a register; lanes without one of their own take the last
  int64_t fold, first, count;
  int64_t at(const Walk& w, int lane) const { return fold * w.cells + first + std::min<int64_t>(lane, count - 1); }
};

// A lane of a vector in memory (an index into a vector there may be compiled into an unaligned store that faults).
static inline float& lane_of(vec& x, int lane) { return ((float*)&x)[lane]; }
static inline float lane_of(const vec& x, int lane) { return ((const float*)&x)[lane]; }

static void read(const Walk& w, const Block& b, const float* from, int rows, vec* to) {  // [fold][cell][row]
  for (int lane = 0; lane < LANES; lane++)
    for (int r = 0; r < rows; r++) lane_of(to[r], lane) = from[b.at(w, lane) * rows + r];
}
static void write(const Walk& w, const Block& b, const vec* from, int rows, float* to) {
  for (int lane = 0; lane < b.count; lane++)
    for (int r = 0; r < rows; r++) to[b.at(w, lane) * rows + r] = lane_of(from[r], lane);
}

// work() gives what does item after item. Where no more threads can be started, fewer share the items; where none has the
// memory to work in, std::bad_alloc is thrown.
template <class F> static void parallel(int64_t items, int64_t threads, F work) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> lost{false};
  auto worker = [&] {
    try {
      auto one = work();
      for (int64_t item; (item = next++) < items;) {
        try { one(item); } catch (const std::bad_alloc&) { lost = true; }
      }
    } catch (const std::bad_alloc&) {
    }
  };
  std::vector<std::thread> others;
  try {
    for (int64_t t = 1; t < std::min(threads, items); t++) others.emplace_back(worker);
  } catch (const std::exception&) {
  }
  worker();
  for (auto& other : others) other.join();
  if (lost || next < items) throw std::bad_alloc();
}

struct Place {  // where a thread works
  Constant constant, by_constant;
  vec fixed[FIXED + 1], by_fixed[FIXED + 1];
  Day day[STRETCH + 1];
  vec standard[STRETCH][FORCING], forcing[STRETCH][FORCING], outputs[STRETCH][OUTPUTS];
  vec by_state[STATE];
  Memory by;
};

static void settle(const Walk& w, const Block& b, Place& p) {
  int at = 0;
  for (int q = 0; q < FIXED; q++) read(w, b, w.fixed[q], 1, p.fixed + q);
  nets([&](auto i) {
    read(w, b, w.tensors[at], Net<i>::CONSTANT, std::get<i>(p.constant).data());
    at += Net<i>::TENSORS;
  });
}

// Do something with all that is carried: f(which, vectors, how many)
template <class Nets_, class F> static inline void carried(vec* state, Nets_& net, F f) {
  for (int q = 0; q < STATE; q++) f(q, state + q, 1);
  int at = STATE;
  nets([&](auto i) {
    for (int m = 0; m < Net<i>::MEMORY; m++) f(at++, Net<i>::memory(std::get<i>(net), m), Net<i>::remembers(m));
  });
}
static int64_t carried_vectors() {
  int64_t sum = STATE;
  nets([&](auto i) { for (int m = 0; m < Net<i>::MEMORY; m++) sum += Net<i>::remembers(m); });
  return sum;
}

static void read_days(const Walk& w, const Block& b, const float* from, int64_t first, int64_t days, vec (*to)[FORCING]) {
  for (int lane = 0; lane < LANES; lane++) {
    const float* x = from + (b.at(w, lane) * w.days + first) * FORCING;
    for (int64_t d = 0; d < days; d++)
      for (int q = 0; q < FORCING; q++) lane_of(to[d][q], lane) = *x++;
  }
}

static inline void walk_day(const Weights& weights, Place& p, int d, Day& today, Day& next, vec* outputs) {
  vec sees[SIGHT];
  sight(p.fixed, today.state, sees);
  nets([&](auto i) {
    Net<i>::forward(std::get<i>(weights), std::get<i>(p.constant).data(), p.standard[d], sees, std::get<i>(today.net), std::get<i>(next.net), today.raw + Net<i>::AT);
  });
  land(p.fixed, today.state, p.forcing[d], today.raw, next.state, outputs);
}

static void forward(const Walk& w, const Weights& weights, const Block& b, Place& p, float* border) {
  settle(w, b, p);
  Day& day = p.day[0];
  carried(day.state, day.net, [&](int q, vec* x, int n) { read(w, b, w.carry[q], n, x); });
  for (int64_t first = 0; first < w.days; first += STRETCH) {
    const int days = std::min<int64_t>(STRETCH, w.days - first);
    if (border) carried(day.state, day.net, [&](int, vec* x, int n) { memcpy(border, x, n * sizeof(vec)), border += n * LANES; });
    read_days(w, b, w.standard, first, days, p.standard);
    read_days(w, b, w.forcing, first, days, p.forcing);
    for (int d = 0; d < days; d++) walk_day(weights, p, d, day, day, p.outputs[d]);
    for (int q = 0; q < OUTPUTS; q++)
      if (w.outputs[q])
        for (int lane = 0; lane < b.count; lane++)
          for (int d = 0; d < days; d++) w.outputs[q][b.at(w, lane) * w.days + first + d] = lane_of(p.outputs[d][q], lane);
  }
  carried(day.state, day.net, [&](int q, vec* x, int n) { write(w, b, x, n, w.after[q]); });
}

static void backward(const Walk& w, const Weights& weights, const Block& b, Place& p, const float* borders, Slopes& slopes) {
  settle(w, b, p);
  memset((void*)&p.by_constant, 0, sizeof p.by_constant);
  memset(p.by_fixed, 0, sizeof p.by_fixed);
  auto own = [&](vec* x, int n) {  // gradients count only in lanes that have a cell of their own
    for (int lane = b.count; lane < LANES; lane++)
      for (int r = 0; r < n; r++) lane_of(x[r], lane) = 0;
  };
  carried(p.by_state, p.by, [&](int q, vec* x, int n) {
    if (w.by_after[q]) read(w, b, w.by_after[q], n, x), own(x, n);
    else memset(x, 0, n * sizeof(vec));
  });
  for (int64_t first = (w.days - 1) / STRETCH * STRETCH; first >= 0; first -= STRETCH) {
    const int days = std::min<int64_t>(STRETCH, w.days - first);
    const float* border = borders + first / STRETCH * carried_vectors() * LANES;
    carried(p.day[0].state, p.day[0].net, [&](int, vec* x, int n) { memcpy(x, border, n * sizeof(vec)), border += n * LANES; });
    read_days(w, b, w.standard, first, days, p.standard);
    read_days(w, b, w.forcing, first, days, p.forcing);
    for (int d = 0; d < days; d++) walk_day(weights, p, d, p.day[d], p.day[d + 1], p.outputs[d]);
    memset(p.outputs, 0, sizeof p.outputs);
    for (int q = 0; q < OUTPUTS; q++)
      if (w.by_outputs[q])
        for (int lane = 0; lane < b.count; lane++)
          for (int d = 0; d < days; d++) lane_of(p.outputs[d][q], lane) = w.by_outputs[q][b.at(w, lane) * w.days + first + d];
    for (int d = days; d--;) {
      Day& today = p.day[d];
      vec by_fixed[FIXED + 1], by_state[STATE], by_raw[RAW], by_sight[SIGHT] = {};
      land_back(p.fixed, today.state, p.forcing[d], today.raw, p.by_state, p.outputs[d], by_fixed, by_state, by_raw);
      for (int q = 0; q < FIXED; q++) p.by_fixed[q] += by_fixed[q];
      for (int q = 0; q < STATE; q++) p.by_state[q] = by_state[q];
      nets([&](auto i) { Net<i>::backward(std::get<i>(weights), std::get<i>(today.net), by_raw + Net<i>::AT, std::get<i>(p.by), by_sight); });
      sight_back(p.fixed, today.state, by_sight, by_fixed, by_state);
      for (int q = 0; q < FIXED; q++) p.by_fixed[q] += by_fixed[q];
      for (int q = 0; q < STATE; q++) p.by_state[q] += by_state[q];
    }
    nets([&](auto i) { Net<i>::gather(&std::get<i>(p.day[0].net), STEP, days, std::get<i>(slopes), std::get<i>(p.by_constant).data()); });
  }
  carried(p.by_state, p.by, [&](int q, vec* x, int n) { write(w, b, x, n, w.by_carry[q]); });
  for (int q = 0; q < FIXED; q++) write(w, b, p.by_fixed + q, 1, w.by_fixed[q]);
  int at = 0;
  nets([&](auto i) {
    write(w, b, std::get<i>(p.by_constant).data(), Net<i>::CONSTANT, w.by_tensors[at]);
    at += Net<i>::TENSORS;
  });
}

template <class T> using Many = std::unique_ptr<T[]>;
template <class T> static Many<T> many(int64_t count) { return Many<T>(new T[count]); }

template <class P> static std::vector<P> of_fold(P const* tensors, int64_t fold) {  // where the tensors of a fold begin
  std::vector<P> found;
  int at = 0;
  nets([&](auto i) {
    for (int t = 0; t < Net<i>::TENSORS; t++, at++) found.push_back(tensors[at] + (t ? fold * Net<i>::size(t) : 0));
  });
  return found;
}
static Many<Weights> packed(const Walk& w) {
  auto weights = many<Weights>(w.folds);
  parallel(w.folds, w.threads, [&] {
    return [&](int64_t fold) {
      auto tensors = of_fold(w.tensors, fold);
      int at = 0;
      nets([&](auto i) { Net<i>::pack(tensors.data() + at, std::get<i>(weights[fold])), at += Net<i>::TENSORS; });
    };
  });
  return weights;
}
static int64_t blocks_of(const Walk& w) { return (w.cells + LANES - 1) / LANES; }
static Block block_of(const Walk& w, int64_t fold, int64_t block) { return {fold, block * LANES, std::min<int64_t>(LANES, w.cells - block * LANES)}; }

static int64_t floats_of_border(const Walk& w) { return ((w.days + STRETCH - 1) / STRETCH) * carried_vectors() * LANES; }

static void walk_all(const Walk& w) {
  const auto weights = packed(w);
  const int64_t blocks = blocks_of(w), border = floats_of_border(w);
  parallel(w.folds * blocks, w.threads, [&] {
    return [&, place = std::shared_ptr<Place>(new Place)](int64_t item) {
      const int64_t fold = item / blocks;
      forward(w, weights[fold], block_of(w, fold, item % blocks), *place, w.borders ? w.borders + item * border : nullptr);
    };
  });
}

static void walk_all_back(const Walk& w) {
  const auto weights = packed(w);
  const int64_t blocks = blocks_of(w), border = floats_of_border(w);
  // Sums are taken in an order that the number of threads does not change: some blocks in turn, then over those groups.
  const int64_t groups = std::min<int64_t>(blocks, 64);
  auto slopes = many<Slopes>(w.folds * groups);
  parallel(w.folds * groups, w.threads, [&] {
    return [&, place = std::shared_ptr<Place>(new Place)](int64_t item) {
      memset((void*)&slopes[item], 0, sizeof(Slopes));
      const int64_t fold = item / groups;
      for (int64_t block = item % groups; block < blocks; block += groups)
        backward(w, weights[fold], block_of(w, fold, block), *place, w.borders + (fold * blocks + block) * border, slopes[item]);
    };
  });
  parallel(w.folds, w.threads, [&] {
    return [&](int64_t fold) {
      auto tensors = of_fold(w.by_tensors, fold);
      for (int64_t group = 0; group < groups; group++) {
        int at = 0;
        nets([&](auto i) { Net<i>::add_to(std::get<i>(slopes[fold * groups + group]), tensors.data() + at), at += Net<i>::TENSORS; });
      }
    };
  });
}

static int64_t out_of_memory(void (*work)(const Walk&), const Walk& w) {  // whether that is how it ended
  try { work(w); } catch (const std::bad_alloc&) { return 1; }
  return 0;
}

extern "C" {
int64_t border_floats(const Walk* w) { return w->folds * blocks_of(*w) * floats_of_border(*w); }
int64_t walk_forward(const Walk* w) { return out_of_memory(walk_all, *w); }
int64_t walk_backward(const Walk* w) { return out_of_memory(walk_all_back, *w); }
}
