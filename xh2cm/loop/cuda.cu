// The walk through time for a GPU: a block of threads takes a few cells through the whole record. Their states stay in
// its shared memory, and no block waits for another.
//
// A block works in phases. In a phase every thread does its own items, reads nothing that another writes in it, and then
// all wait. So a C++ compiler can let the threads take turns, in any order: where there is no GPU, that is how this is
// tested (`backwards` says in which order).
//
// What stands between the two marks below is written by trace.py and scheme.py for the model at hand. `CELLS` and
// `THREADS` of a block are defined before all this.

#ifdef __CUDACC__
#define NAN __int_as_float(0x7fc00000)
#define INFINITY __int_as_float(0x7f800000)
namespace std {
using ::pow, ::atan2, ::fmod, ::hypot, ::sqrt, ::tanh, ::sin, ::cos, ::tan, ::asin, ::acos, ::atan, ::sinh, ::cosh, ::asinh, ::acosh, ::atanh;
using ::expm1, ::exp2, ::log2, ::log10, ::erf, ::erfc, ::floor, ::ceil, ::trunc, ::nearbyint;
}
#else
#include <cmath>
#include <memory>
#endif

typedef long long whole;
typedef float vec;  // of one cell: a thread walks the physics of a cell
struct mask {
  bool is;
  mask(bool is = false) : is(is) {}
  friend mask operator&(mask a, mask b) { return a.is && b.is; }
  friend mask operator|(mask a, mask b) { return a.is || b.is; }
  friend mask operator^(mask a, mask b) { return a.is != b.is; }
  friend mask operator==(mask a, int b) { return a.is == (b != 0); }
  friend mask operator!=(mask a, int b) { return a.is != (b != 0); }
  mask operator~() const { return !is; }
};

// -- arithmetic ------------------------------------------------------------------------------------------------------
// NaN must come through everywhere: a step that is not finite has to be seen.

static inline vec all(float x) { return x; }
static inline vec where(mask m, vec yes, vec no) { return m.is ? yes : no; }
static inline vec minimum(vec a, vec b) { return a < b || a != a ? a : b; }
static inline vec maximum(vec a, vec b) { return a > b || a != a ? a : b; }
static inline vec number(mask m) { return m.is ? 1.0f : 0.0f; }
static inline vec absolute(vec x) { return fabsf(x); }
static inline vec exponential(vec x) { return expf(x); }
static inline vec logarithm(vec x) { return logf(x); }
static inline vec logarithm_1p(vec x) { return log1pf(x); }
static inline vec sigmoid(vec x) { return 1.0f / (1.0f + expf(-x)); }
template <class F> static inline vec each(F f, vec x) { return f(x); }
template <class F> static inline vec each(F f, vec x, vec y) { return f(x, y); }
static inline float leaky(float x) { return x > 0.0f ? x : 0.01f * x; }
static inline float slope(float y) { return y > 0.0f ? 1.0f : 0.01f; }

// -- products --------------------------------------------------------------------------------------------------------

struct alignas(CELLS % 4 ? CELLS % 2 ? 4 : 8 : 16) Row { float of[CELLS]; };  // a number of each cell
struct alignas(16) Four { float of[4]; };                                     // four rows of a matrix, or the gates of a unit
struct Tile { Row of[4]; };

// Four rows of a product: the sum over k of a matrix's w[k * step] x[k].
static inline void add(Tile& sum, const Four* w, int step, const Row* x, int count) {
#pragma unroll 4
  for (int k = 0; k < count; k++) {
    const Four wk = w[k * step];
    const Row xk = x[k];
    for (int j = 0; j < 4; j++)
      for (int c = 0; c < CELLS; c++) sum.of[j].of[c] += wk.of[j] * xk.of[c];
  }
}

// A sum over many is taken in parts, by as many threads: what part `p` of 4 adds, and all parts together.
constexpr int PARTS = 4;
static constexpr int part(int count) { return (count + PARTS - 1) / PARTS; }
static inline float partial(const float* w, int step, const Row* x, int c, int count, int p) {
  float sum = 0;
#pragma unroll 4
  for (int k = p * part(count); k < (p + 1) * part(count) && k < count; k++) sum += w[k * step] * x[k].of[c];
  return sum;
}
static inline float total(const Row* parts, int step, int c) {
  float sum = 0;
  for (int p = 0; p < PARTS; p++) sum += parts[p * step].of[c];
  return sum;
}

// -- where things lie ------------------------------------------------------------------------------------------------

struct Here {  // a block's cells; lanes without one of their own walk with the last and keep nothing
  int fold, first, count;
  whole cells, stretch;
  bool own(int c) const { return c < count; }
  whole cell(int c) const { return first + (c < count ? c : count - 1); }
  whole at(int c) const { return fold * cells + cell(c); }
  whole held(int d, int c) const { return (fold * stretch + d) * cells + cell(c); }               // on a day
  whole between(int d, int c) const { return (fold * (stretch + 1) + d) * cells + cell(c); }      // before it
};

// -- networks --------------------------------------------------------------------------------------------------------
// Phases of a day: `unit` takes a first layer, `head` parts of the next, `raw` gives the raw parameters of a cell. On the
// way back `by_raw`, `by_unit`, `by_input` in turn, and `by_sees` for what was seen of the state.

// A recurrent cell of four gates a unit, and a head on what it hides. `Cell` says what becomes of the gates.
template <class S, class Cell> struct Recurrent : S {
  static constexpr int H = S::WIDTH, F = S::FORCINGS, N = S::SIGHTS, K = F + N + H, OUT = S::GIVES, TILES = (N + H + 3) / 4;
  static constexpr int UNITS = H, HEADS = OUT * PARTS * CELLS, BY_UNITS = H, BY_INPUTS = TILES * PARTS, REMEMBERED = H;
  struct Global {
    const Four *constant, *matrix;                     // [fold][cell][H], [fold][K][H]
    const float *bias, *head;                          // [fold][OUT], [fold][OUT][H]
    const Four* back;                                  // [fold][4 H][TILES]
    const float *hidden, *cell;                        // before the first day, [fold][cell][H]
    float *hidden_after, *cell_after, *hidden_borders, *cell_borders;  // [fold][cell][H], [stretch][fold][cell][H]
    float *by_hidden, *by_cell;                        // by those before, [fold][cell][H]
    float* x; Four* gates; float* cells;               // held: [fold][day + 1][cell][K], [fold][day][cell][H], as x
  };
  struct Forward { Row x[2][K], cell[H], parts[OUT * PARTS]; };
  struct Backward { Row by_gates[4 * H], by_cell[H], past[H], parts[PARTS * 4 * TILES]; };

  template <bool HOLD> static void remember(const Here& b, Forward& p, const Global& g, int u) {
    for (int c = 0; c < CELLS; c++) {
      const float hidden = g.hidden[b.at(c) * H + u], cell = Cell::MEMORY > 1 ? g.cell[b.at(c) * H + u] : 0.0f;
      p.x[0][F + N + u].of[c] = hidden, p.cell[u].of[c] = cell;
      if (HOLD && b.own(c)) hold(b, g, 0, u, c, hidden, cell);
    }
  }
  static void hold(const Here& b, const Global& g, int d, int u, int c, float hidden, float cell) {
    g.x[b.between(d, c) * K + F + N + u] = hidden;
    if (Cell::MEMORY > 1) g.cells[b.between(d, c) * H + u] = cell;
  }
  static void leave(const Here& b, const Forward& p, int parity, float* hidden, float* cell, int u) {
    for (int c = 0; c < b.count; c++) {
      hidden[b.at(c) * H + u] = p.x[parity][F + N + u].of[c];
      if (Cell::MEMORY > 1) cell[b.at(c) * H + u] = p.cell[u].of[c];
    }
  }
  static void border(const Here& b, const Forward& p, const Global& g, int parity, whole offset, int u) {
    leave(b, p, parity, g.hidden_borders + offset * H, Cell::MEMORY > 1 ? g.cell_borders + offset * H : nullptr, u);
  }
  static void after(const Here& b, const Forward& p, const Global& g, int parity, int u) { leave(b, p, parity, g.hidden_after, g.cell_after, u); }

  template <bool HOLD> static void input(const Here& b, Forward& p, const Global& g, int parity, int d, int c, const Row* forcing, const float* sees) {
    for (int q = 0; q < F + N; q++) {
      const float x = q < F ? forcing[S::forcing(q)].of[c] : sees[S::sight(q - F)];
      p.x[parity][q].of[c] = x;
      if (HOLD && b.own(c)) g.x[b.between(d, c) * K + q] = x;
    }
  }
  template <bool HOLD> static void unit(const Here& b, Forward& p, const Global& g, int parity, int d, int u) {
    Tile sum;
    for (int c = 0; c < CELLS; c++) {
      const Four constant = g.constant[b.at(c) * H + u];
      for (int j = 0; j < 4; j++) sum.of[j].of[c] = constant.of[j];
    }
    add(sum, g.matrix + (whole)b.fold * K * H + u, H, p.x[parity], K);
    for (int c = 0; c < CELLS; c++) {
      Four gates = {sum.of[0].of[c], sum.of[1].of[c], sum.of[2].of[c], sum.of[3].of[c]};
      const float hidden = Cell::forward(gates, p.x[parity][F + N + u].of[c], p.cell[u].of[c]);
      p.x[1 - parity][F + N + u].of[c] = hidden;
      if (HOLD && b.own(c)) {
        g.gates[b.held(d, c) * H + u] = gates;
        hold(b, g, d + 1, u, c, hidden, p.cell[u].of[c]);
      }
    }
  }
  static void head(const Here& b, Forward& p, const Global& g, int parity, int item) {
    const int c = item % CELLS, i = item / CELLS;
    p.parts[i].of[c] = partial(g.head + (b.fold * OUT + i / PARTS) * H, 1, p.x[1 - parity] + F + N, c, H, i % PARTS);
  }
  template <bool HOLD> static void raw(const Here& b, Forward& p, const Global& g, int, int c, float* raw) {
    for (int j = 0; j < OUT; j++) raw[S::AT + j] = g.bias[b.fold * OUT + j] + total(p.parts + j * PARTS, 1, c);
  }

  static void turn(const Here& b, Backward& p, const Global& g, int u) {  // what comes from after the last day
    for (int c = 0; c < CELLS; c++) {
      for (int i = 0; i < PARTS; i++) p.parts[i * 4 * TILES + N + u].of[c] = i ? 0.0f : g.by_hidden[b.at(c) * H + u];
      p.past[u].of[c] = 0.0f, p.by_cell[u].of[c] = Cell::MEMORY > 1 ? g.by_cell[b.at(c) * H + u] : 0.0f;
    }
  }
  static void by_raw(const Here&, Backward&, const Global&, int, int, const float*) {}
  static void by_unit(const Here& b, Backward& p, const Global& g, const Row* by_raw, int d, int u) {
    for (int c = 0; c < CELLS; c++) {
      float by_hidden = p.past[u].of[c] + total(p.parts + N + u, 4 * TILES, c);
      for (int j = 0; j < OUT; j++) by_hidden += by_raw[S::AT + j].of[c] * g.head[(b.fold * OUT + j) * H + u];
      Four gates = g.gates[b.held(d, c) * H + u];
      const float before = g.x[b.between(d, c) * K + F + N + u];
      const float *cell = Cell::MEMORY > 1 ? g.cells + u : nullptr;
      p.past[u].of[c] = Cell::backward(gates, before, cell ? cell[b.between(d, c) * H] : 0.0f, cell ? cell[b.between(d + 1, c) * H] : 0.0f, by_hidden, p.by_cell[u].of[c]);
      for (int j = 0; j < 4; j++) p.by_gates[4 * u + j].of[c] = gates.of[j];
    }
  }
  static void keep(const Here& b, const Backward& p, const Global& g, int d, int u) {  // gradients in place of the gates
    for (int c = 0; c < b.count; c++) g.gates[b.held(d, c) * H + u] = {p.by_gates[4 * u].of[c], p.by_gates[4 * u + 1].of[c], p.by_gates[4 * u + 2].of[c], p.by_gates[4 * u + 3].of[c]};
  }
  static void by_input(const Here& b, Backward& p, const Global& g, int item) {
    const int t = item % TILES, i = item / TILES, from = 4 * part(H) * i, left = 4 * H - from;
    Tile sum = {};
    if (left > 0) add(sum, g.back + ((whole)b.fold * 4 * H + from) * TILES + t, TILES, p.by_gates + from, left < 4 * part(H) ? left : 4 * part(H));
    for (int j = 0; j < 4; j++) p.parts[(i * TILES + t) * 4 + j] = sum.of[j];
  }
  static void by_sees(const Backward& p, int c, float* by_sight) {
    for (int q = 0; q < N; q++) by_sight[S::sight(q)] += total(p.parts + q, 4 * TILES, c);
  }
  static void back(const Here& b, const Backward& p, const Global& g, int u) {  // what goes on before the first day
    for (int c = 0; c < b.count; c++) {
      g.by_hidden[b.at(c) * H + u] = p.past[u].of[c] + total(p.parts + N + u, 4 * TILES, c);
      if (Cell::MEMORY > 1) g.by_cell[b.at(c) * H + u] = p.by_cell[u].of[c];
    }
  }
};

struct LstmCell {  // gates in, forget, new, out; remembers a cell state beside what it hides
  static constexpr int MEMORY = 2;
  static float forward(Four& g, float, float& cell) {
    g = {sigmoid(g.of[0]), sigmoid(g.of[1]), tanhf(g.of[2]), sigmoid(g.of[3])};
    cell = g.of[1] * cell + g.of[0] * g.of[2];
    return g.of[3] * tanhf(cell);
  }
  static float backward(Four& g, float, float cell, float cell_after, float by_hidden, float& by_cell) {  // gives what goes past the gates
    const float in = g.of[0], forget = g.of[1], new_ = g.of[2], out = g.of[3], seen = tanhf(cell_after);
    const float by = by_cell + by_hidden * out * (1.0f - seen * seen);
    g = {by * new_ * (in - in * in), by * cell * (forget - forget * forget), by * in * (1.0f - new_ * new_), by_hidden * seen * (out - out * out)};
    by_cell = by * forget;
    return 0.0f;
  }
};
struct GruCell {  // gates new (what inputs say), reset, update, new (what was hidden says)
  static constexpr int MEMORY = 1;
  static float forward(Four& g, float before, float&) {
    const float reset = sigmoid(g.of[1]), update = sigmoid(g.of[2]), new_ = tanhf(g.of[0] + reset * g.of[3]);
    g = {new_, reset, update, g.of[3]};
    return new_ + update * (before - new_);
  }
  static float backward(Four& g, float before, float, float, float by_hidden, float&) {
    const float new_ = g.of[0], reset = g.of[1], update = g.of[2], by_new = by_hidden * (1.0f - update) * (1.0f - new_ * new_);
    g = {by_new, by_new * g.of[3] * (reset - reset * reset), by_hidden * (before - new_) * (update - update * update), by_new * reset};
    return by_hidden * update;
  }
};
template <class S> struct TracedCell {  // gates and their gradient as the model says: `unit` and `unit_back`
  static constexpr int MEMORY = S::MEMORIES;
  static float forward(Four& g, float before, float& cell) {
    const float past[2] = {before, cell};
    float after[2];
    S::unit((const float*)g.of, (const float*)past, (float*)after);
    if (MEMORY > 1) cell = after[1];
    return after[0];
  }
  static float backward(Four& g, float before, float cell, float, float by_hidden, float& by_cell) {
    const float past[2] = {before, cell}, by_after[2] = {by_hidden, by_cell};
    float by_gates[4], by_past[2];
    S::unit_back((const float*)g.of, (const float*)past, (const float*)by_after, (float*)by_gates, (float*)by_past);
    g = {by_gates[0], by_gates[1], by_gates[2], by_gates[3]};
    if (MEMORY > 1) by_cell = by_past[1];
    return by_past[0];
  }
};
template <class S> using Traced = Recurrent<S, TracedCell<S>>;
template <class S> using Lstm = Recurrent<S, LstmCell>;
template <class S> using Gru = Recurrent<S, GruCell>;

template <class S> struct Mlp : S {
  static constexpr int H = S::WIDTH, E = S::INNER, F = S::FORCINGS, N = S::SIGHTS, K = F + N, OUT = S::GIVES, TILES = (H + 3) / 4;
  static constexpr int UNITS = TILES, HEADS = E * PARTS * CELLS, BY_UNITS = H, BY_INPUTS = N * PARTS * CELLS, REMEMBERED = 0;
  struct Global {
    const Four *constant, *matrix;                       // [fold][cell][TILES], [fold][K][TILES]
    const float *inner_bias, *inner, *bias, *head;       // [fold][E], [fold][H][E], [fold][OUT], [fold][E][OUT]
    float *x, *hidden, *by_hidden, *inner_of, *by_inner; // held: [fold][day + 1][cell][K], [fold][day][cell][H], [E]
  };
  struct Forward { Row x[2][K + 1], hidden[4 * TILES], parts[E * PARTS]; };
  struct Backward { Row by_hidden[H], by_inner[E], parts[N * PARTS + 1]; };

  template <bool HOLD> static void remember(const Here&, Forward&, const Global&, int) {}
  static void border(const Here&, const Forward&, const Global&, int, whole, int) {}
  static void after(const Here&, const Forward&, const Global&, int, int) {}

  template <bool HOLD> static void input(const Here& b, Forward& p, const Global& g, int parity, int d, int c, const Row* forcing, const float* sees) {
    for (int q = 0; q < K; q++) {
      const float x = q < F ? forcing[S::forcing(q)].of[c] : sees[S::sight(q - F)];
      p.x[parity][q].of[c] = x;
      if (HOLD && b.own(c)) g.x[b.between(d, c) * K + q] = x;
    }
  }
  template <bool HOLD> static void unit(const Here& b, Forward& p, const Global& g, int parity, int d, int t) {
    Tile sum;
    for (int c = 0; c < CELLS; c++) {
      const Four constant = g.constant[b.at(c) * TILES + t];
      for (int j = 0; j < 4; j++) sum.of[j].of[c] = constant.of[j];
    }
    add(sum, g.matrix + (whole)b.fold * K * TILES + t, TILES, p.x[parity], K);
    for (int j = 0; j < 4; j++)
      for (int c = 0; c < CELLS; c++) {
        const float y = p.hidden[4 * t + j].of[c] = leaky(sum.of[j].of[c]);
        if (HOLD && b.own(c) && 4 * t + j < H) g.hidden[b.held(d, c) * H + 4 * t + j] = y;
      }
  }
  static void head(const Here& b, Forward& p, const Global& g, int, int item) {
    const int c = item % CELLS, i = item / CELLS;
    p.parts[i].of[c] = partial(g.inner + b.fold * H * E + i / PARTS, E, p.hidden, c, H, i % PARTS);
  }
  template <bool HOLD> static void raw(const Here& b, Forward& p, const Global& g, int d, int c, float* raw) {
    for (int j = 0; j < OUT; j++) raw[S::AT + j] = g.bias[b.fold * OUT + j];
    for (int e = 0; e < E; e++) {
      const float inner = leaky(g.inner_bias[b.fold * E + e] + total(p.parts + e * PARTS, 1, c));
      if (HOLD && b.own(c)) g.inner_of[b.held(d, c) * E + e] = inner;
      for (int j = 0; j < OUT; j++) raw[S::AT + j] += inner * g.head[(b.fold * E + e) * OUT + j];
    }
  }

  static void turn(const Here&, Backward&, const Global&, int) {}
  static void by_raw(const Here& b, Backward& p, const Global& g, int d, int c, const float* by_raw) {
    for (int e = 0; e < E; e++) {
      float by = 0;
      for (int j = 0; j < OUT; j++) by += by_raw[S::AT + j] * g.head[(b.fold * E + e) * OUT + j];
      p.by_inner[e].of[c] = by *= slope(g.inner_of[b.held(d, c) * E + e]);
      if (b.own(c)) g.by_inner[b.held(d, c) * E + e] = by;
    }
  }
  static void by_unit(const Here& b, Backward& p, const Global& g, const Row*, int d, int h) {
    for (int c = 0; c < CELLS; c++) {
      float by = 0;
      for (int e = 0; e < E; e++) by += p.by_inner[e].of[c] * g.inner[(b.fold * H + h) * E + e];
      p.by_hidden[h].of[c] = by * slope(g.hidden[b.held(d, c) * H + h]);
    }
  }
  static void keep(const Here& b, const Backward& p, const Global& g, int d, int h) {
    for (int c = 0; c < b.count; c++) g.by_hidden[b.held(d, c) * H + h] = p.by_hidden[h].of[c];
  }
  static void by_input(const Here& b, Backward& p, const Global& g, int item) {
    const int c = item % CELLS, i = item / CELLS, q = F + i / PARTS;
    float sum = 0;
    for (int h = i % PARTS; h < H; h += PARTS) sum += g.matrix[((whole)b.fold * K + q) * TILES + h / 4].of[h % 4] * p.by_hidden[h].of[c];
    p.parts[i].of[c] = sum;
  }
  static void by_sees(const Backward& p, int c, float* by_sight) {
    for (int q = 0; q < N; q++) by_sight[S::sight(q)] += total(p.parts + q * PARTS, 1, c);
  }
  static void back(const Here&, const Backward&, const Global&, int) {}
};

// All networks of a model: what they have, side by side, and their items, each network's beginning with a new warp.
static constexpr int warps(int items) { return (items + 31) / 32 * 32; }
template <class... N> struct All {
  static constexpr int UNITS = 0, HEADS = 0, BY_UNITS = 0, BY_INPUTS = 0, REMEMBERED = 0;
  struct Global {};
  struct Forward {};
  struct Backward {};
  template <class P, class F> static void each(P&, const Global&, F&&) {}
};
template <class N, class... M> struct All<N, M...> {
  using Rest = All<M...>;
  static constexpr int UNITS = warps(N::UNITS) + Rest::UNITS, HEADS = warps(N::HEADS) + Rest::HEADS, BY_UNITS = warps(N::BY_UNITS) + Rest::BY_UNITS;
  static constexpr int BY_INPUTS = warps(N::BY_INPUTS) + Rest::BY_INPUTS, REMEMBERED = warps(N::REMEMBERED) + Rest::REMEMBERED;
  struct Global { typename N::Global net; typename Rest::Global rest; };
  struct Forward { typename N::Forward net; typename Rest::Forward rest; };
  struct Backward { typename N::Backward net; typename Rest::Backward rest; };
  template <class P, class F> static void each(P& p, const Global& g, F&& f) {
    f(N{}, p.net, g.net);
    Rest::each(p.rest, g.rest, f);
  }
};

//<model>
//</model>

// -- the walk --------------------------------------------------------------------------------------------------------

// Everything is float32 and dense; what is not wanted is a null pointer. `first` and `count` are the days to walk.
struct Walk {
  whole folds, cells, days, first, count, stretch;
  const float *forcing, *standard, *fixed, *state;  // [fold][cell][day][FORCING] twice, [fold][cell][FIXED], [STATE]
  float *state_after, *state_borders;               // [fold][cell][STATE], [stretch][fold][cell][STATE]
  float *held_state, *held_raw;                     // [fold][day + 1][cell][STATE], [fold][day][cell][RAW]
  float *by_state, *by_fixed;                       // [fold][cell][STATE], [FIXED]: of later days and then of these too
  float* outputs[OUTPUTS];                          // [fold][cell][day]
  const float* by_outputs[OUTPUTS];
  Nets::Global nets;
};
struct Ahead { Row forcing[FORCING], standard[FORCING]; };
struct Forward {
  Row fixed[FIXED + 1], state[STATE], raw[RAW + 1];
  Ahead ahead[2];  // forcing of today and tomorrow, by parity
  Nets::Forward nets;
};
struct Backward : Forward {
  Row by_state[STATE], by_fixed[FIXED + 1], by_raw[RAW + 1], by_outputs[OUTPUTS], state_then[STATE], raw_then[RAW + 1], forcing_then[FORCING];
  Nets::Backward by_nets;
};

#ifdef __CUDACC__
template <class F> static inline void phase(F&& work) {
  work((int)threadIdx.x);
  __syncthreads();
}
#else
extern "C" {
int backwards = 0;
}
template <class F> static inline void phase(F&& work) {
  for (int turn = 0; turn < THREADS; turn++) work(backwards ? THREADS - 1 - turn : turn);
}
#endif
#define ITEMS(i, thread, count) for (int i = thread; i < (count); i += THREADS)

// f(net, its place, its tensors, item) for the items of `WHICH` of each network that are a thread's
#define EACH(WHICH, thread, place, ...)                                                                \
  ITEMS(at_, thread, Nets::WHICH) {                                                                    \
    int item = at_;                                                                                    \
    Nets::each(place, w.nets, [&](auto net, auto& p, const auto& g) {                                  \
      using N = decltype(net);                                                                         \
      if (item >= 0 && item < N::WHICH) { __VA_ARGS__; }                                               \
      item -= warps(N::WHICH);                                                                         \
    });                                                                                                \
  }

static inline void read_ahead(const Walk& w, const Here& b, Ahead& to, whole day, int thread) {
  if (day >= w.days) return;
  ITEMS(i, thread, 2 * FORCING * CELLS) {
    const int c = i % CELLS, q = i / CELLS;
    const whole at = (b.at(c) * w.days + day) * FORCING + q % FORCING;
    (q < FORCING ? to.forcing : to.standard)[q % FORCING].of[c] = (q < FORCING ? w.forcing : w.standard)[at];
  }
}
static inline void gathered(const Row* from, int count, int c, float* to) {
  for (int q = 0; q < count; q++) to[q] = from[q].of[c];
}
static inline void spread(const float* from, int count, int c, Row* to) {
  for (int q = 0; q < count; q++) to[q].of[c] = from[q];
}

template <bool HOLD> static inline void inputs(const Walk& w, const Here& b, Forward& place, int parity, int d, int c, const float* fixed, const float* state) {
  float sees[SIGHT];
  sight(fixed, state, sees);
  Nets::each(place.nets, w.nets, [&](auto net, auto& p, const auto& g) { decltype(net)::template input<HOLD>(b, p, g, parity, d, c, place.ahead[parity].standard, sees); });
  if (HOLD && b.own(c))
    for (int q = 0; q < STATE; q++) w.held_state[b.between(d, c) * STATE + q] = state[q];
}

template <bool HOLD> static inline void walk(const Walk& w, const Here& b, Forward& place) {
  phase([&](int thread) {
    ITEMS(c, thread, CELLS) {
      for (int q = 0; q < STATE; q++) place.state[q].of[c] = w.state[b.at(c) * STATE + q];
      for (int q = 0; q < FIXED; q++) place.fixed[q].of[c] = w.fixed[b.at(c) * FIXED + q];
    }
    read_ahead(w, b, place.ahead[0], w.first, thread);
    EACH(REMEMBERED, thread, place.nets, N::template remember<HOLD>(b, p, g, item));
  });
  phase([&](int thread) {
    ITEMS(c, thread, CELLS) {
      float fixed[FIXED + 1], state[STATE];
      gathered(place.fixed, FIXED, c, fixed), gathered(place.state, STATE, c, state);
      inputs<HOLD>(w, b, place, 0, 0, c, fixed, state);
    }
  });
  for (int d = 0; d < w.count; d++) {
    const int parity = d % 2;
    phase([&](int thread) {
      if (!HOLD && w.state_borders && d % w.stretch == 0) {
        const whole offset = d / w.stretch * w.folds * w.cells;
        ITEMS(c, thread, b.count)
          for (int q = 0; q < STATE; q++) w.state_borders[(offset + b.at(c)) * STATE + q] = place.state[q].of[c];
        EACH(UNITS, thread, place.nets, N::border(b, p, g, parity, offset, item));  // before `unit` of the same thread
      }
      read_ahead(w, b, place.ahead[1 - parity], w.first + d + 1, thread);
      EACH(UNITS, thread, place.nets, N::template unit<HOLD>(b, p, g, parity, d, item));
    });
    phase([&](int thread) { EACH(HEADS, thread, place.nets, N::head(b, p, g, parity, item)); });
    phase([&](int thread) {
      ITEMS(c, thread, CELLS) {
        float fixed[FIXED + 1], state[STATE], forcing[FORCING], raw[RAW + 1], outputs[OUTPUTS];
        gathered(place.fixed, FIXED, c, fixed), gathered(place.state, STATE, c, state), gathered(place.ahead[parity].forcing, FORCING, c, forcing);
        Nets::each(place.nets, w.nets, [&](auto net, auto& p, const auto& g) { decltype(net)::template raw<HOLD>(b, p, g, d, c, raw); });
        if (HOLD && b.own(c))
          for (int q = 0; q < RAW; q++) w.held_raw[b.held(d, c) * RAW + q] = raw[q];
        float next[STATE];
        land(fixed, state, forcing, raw, next, outputs);
        if (!HOLD && b.own(c))
          for (int q = 0; q < OUTPUTS; q++)
            if (w.outputs[q]) w.outputs[q][b.at(c) * w.days + w.first + d] = outputs[q];
        spread(next, STATE, c, place.state);
        inputs<HOLD>(w, b, place, 1 - parity, d + 1, c, fixed, next);
      }
    });
  }
}

static inline void forward(const Walk& w, const Here& b, Forward& place) {
  walk<false>(w, b, place);
  phase([&](int thread) {
    ITEMS(c, thread, b.count)
      for (int q = 0; q < STATE; q++) w.state_after[b.at(c) * STATE + q] = place.state[q].of[c];
    EACH(REMEMBERED, thread, place.nets, N::after(b, p, g, w.count % 2, item));
  });
}

// What the way back needs of a day, brought while the day after it is at its products.
static inline void read_back(const Walk& w, const Here& b, Backward& place, int d, int thread) {
  if (d < 0) return;
  ITEMS(i, thread, (STATE + RAW + FORCING + OUTPUTS) * CELLS) {
    const int c = i % CELLS;
    int q = i / CELLS;
    if (q < STATE) place.state_then[q].of[c] = w.held_state[b.between(d, c) * STATE + q];
    else if ((q -= STATE) < RAW) place.raw_then[q].of[c] = w.held_raw[b.held(d, c) * RAW + q];
    else if ((q -= RAW) < FORCING) place.forcing_then[q].of[c] = w.forcing[(b.at(c) * w.days + w.first + d) * FORCING + q];
    else if (q -= FORCING, true) place.by_outputs[q].of[c] = w.by_outputs[q] ? w.by_outputs[q][b.at(c) * w.days + w.first + d] : 0.0f;
  }
}

// By the state before day `d` comes what the networks saw of it.
static inline void seen(const Walk& w, const Here& b, Backward& place, int d, int c, const float* fixed, float* by_state) {
  float state[STATE], by_sight[SIGHT] = {}, by_fixed[FIXED + 1], more[STATE];
  for (int q = 0; q < STATE; q++) state[q] = w.held_state[b.between(d, c) * STATE + q];
  Nets::each(place.by_nets, w.nets, [&](auto net, auto& p, const auto&) { decltype(net)::by_sees(p, c, by_sight); });
  sight_back(fixed, state, by_sight, by_fixed, more);
  for (int q = 0; q < FIXED; q++) place.by_fixed[q].of[c] += by_fixed[q];
  for (int q = 0; q < STATE; q++) by_state[q] += more[q];
}

// Walks a stretch once more, holding all that happens, and then its gradient.
static inline void backward(const Walk& w, const Here& b, Backward& place) {
  walk<true>(w, b, place);
  phase([&](int thread) {
    ITEMS(c, thread, CELLS) {
      for (int q = 0; q < STATE; q++) place.by_state[q].of[c] = w.by_state[b.at(c) * STATE + q];
      for (int q = 0; q < FIXED; q++) place.by_fixed[q].of[c] = w.by_fixed[b.at(c) * FIXED + q];
    }
    EACH(REMEMBERED, thread, place.by_nets, N::turn(b, p, g, item));
    read_back(w, b, place, (int)w.count - 1, thread);
  });
  for (int d = (int)w.count - 1; d >= 0; d--) {
    phase([&](int thread) {
      ITEMS(c, thread, CELLS) {
        float fixed[FIXED + 1], state[STATE], forcing[FORCING], raw[RAW + 1], by_after[STATE], by_outputs[OUTPUTS], by_fixed[FIXED + 1], by_state[STATE], by_raw[RAW + 1];
        gathered(place.fixed, FIXED, c, fixed), gathered(place.by_state, STATE, c, by_after), gathered(place.by_outputs, OUTPUTS, c, by_outputs);
        gathered(place.state_then, STATE, c, state), gathered(place.raw_then, RAW, c, raw), gathered(place.forcing_then, FORCING, c, forcing);
        if (d + 1 < w.count) seen(w, b, place, d + 1, c, fixed, by_after);
        land_back(fixed, state, forcing, raw, by_after, by_outputs, by_fixed, by_state, by_raw);
        for (int q = 0; q < FIXED; q++) place.by_fixed[q].of[c] += by_fixed[q];
        spread(by_state, STATE, c, place.by_state), spread(by_raw, RAW, c, place.by_raw);
        if (b.own(c))
          for (int q = 0; q < RAW; q++) w.held_raw[b.held(d, c) * RAW + q] = by_raw[q];  // gradients in place
        Nets::each(place.by_nets, w.nets, [&](auto net, auto& p, const auto& g) { decltype(net)::by_raw(b, p, g, d, c, by_raw); });
      }
    });
    phase([&](int thread) { EACH(BY_UNITS, thread, place.by_nets, N::by_unit(b, p, g, place.by_raw, d, item)); });
    phase([&](int thread) {
      EACH(BY_UNITS, thread, place.by_nets, N::keep(b, p, g, d, item));
      read_back(w, b, place, d - 1, thread);
      EACH(BY_INPUTS, thread, place.by_nets, N::by_input(b, p, g, item));
    });
  }
  phase([&](int thread) {
    ITEMS(c, thread, b.count) {
      float fixed[FIXED + 1], by_state[STATE];
      gathered(place.fixed, FIXED, c, fixed), gathered(place.by_state, STATE, c, by_state);
      seen(w, b, place, 0, c, fixed, by_state);
      for (int q = 0; q < STATE; q++) w.by_state[b.at(c) * STATE + q] = by_state[q];
      for (int q = 0; q < FIXED; q++) w.by_fixed[b.at(c) * FIXED + q] = place.by_fixed[q].of[c];
    }
    EACH(REMEMBERED, thread, place.by_nets, N::back(b, p, g, item));
  });
}

static inline Here here(const Walk& w, whole block) {
  const whole blocks = (w.cells + CELLS - 1) / CELLS, first = block % blocks * CELLS;
  return {(int)(block / blocks), (int)first, (int)(w.cells - first < CELLS ? w.cells - first : CELLS), w.cells, w.stretch};
}

#ifdef __CUDACC__
#define KERNEL(name, Place, work)                                                                                 \
  extern "C" __global__ void __launch_bounds__(THREADS) name(const __grid_constant__ Walk w) {                    \
    extern __shared__ Four room[];                                                                                \
    work(w, here(w, blockIdx.x), *(Place*)room);                                                                  \
  }                                                                                                               \
  extern "C" __constant__ const whole name##_shared = sizeof(Place);
#else
#define KERNEL(name, Place, work)                                                                                 \
  extern "C" void name(const Walk* w, whole blocks) {                                                             \
    const std::unique_ptr<Place> place(new Place);                                                                \
    for (whole block = 0; block < blocks; block++) work(*w, here(*w, block), *place);                             \
  }                                                                                                               \
  extern "C" const whole name##_shared = sizeof(Place);
#endif

#ifndef __CUDACC__
extern "C" const whole walk_bytes = sizeof(Walk);
#endif
KERNEL(walk_forward, Forward, forward)
KERNEL(walk_backward, Backward, backward)
