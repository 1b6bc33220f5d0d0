# Routing: one decision a call, the price of cost under a budget, and the features of a text.

cdef extern from "asking.h" nogil:
    enum: SONA_MOST_TURNS
    ctypedef struct sona_router:
        Py_ssize_t dim, f, marks, width, row, near, phi
        const sona_f32 *landmarks
        const sona_f32 *norms
        const sona_f32 *transform
        const sona_f32 *mean
        const sona_f32 *deviation
        const sona_f32 *weight
        const sona_f32 *weights
        const sona_f32 *variance
        const sona_f32 *cost_weights
        const sona_f64 *least
        Py_ssize_t rows
        const sona_f64 *count
        const sona_f64 *cost
        const sona_f64 *latency
        const sona_f64 *shifted
        float inverse_length, linear
        double prior_route, temperature, floor, newcomer, warm_up, paced_warm_up, pessimism
        double intercept, slope, per_steepness
    ctypedef struct sona_terms:
        double price, budget, cost_weight, latency_weight, draw
    void sona_router_features(const sona_kernels *K, const sona_router *R, const sona_f32 *x, float inverse_norm,
                              const sona_f32 *features, sona_f32 *work, sona_f32 *phi, sona_f32 *squares) noexcept
    Py_ssize_t sona_decide(const sona_kernels *K, const sona_router *R, const sona_f32 *phi, const sona_f32 *squares,
                           const int64_t *rows, Py_ssize_t k, const double *costs, const sona_terms *T, double *scores,
                           double *values, double *expected, double *work, double *propensity, int *reason) noexcept
    ctypedef struct sona_pacer:
        double *values
        double *costs
        Py_ssize_t window, width
        Py_ssize_t count
    void sona_reprice(sona_pacer *p, Py_ssize_t newest, Py_ssize_t seen, double *turns) noexcept
    double sona_price(sona_pacer *p, double wanted) noexcept

cdef tuple REASONS = ("only candidate", "warm-up", "exploit", "explore")


@cython.final
cdef class RouterBlock:
    """State of a router for decisions: `learning.routing.router.decide` in one call. Immutable."""
    cdef sona_router router
    cdef tuple kept

    def __init__(
        self,
        landmarks,          # IN (L, dim + f) float32
        norms,              # IN (L,): squared lengths / (2 length)
        transform,          # IN (width, L)
        features,           # IN (3, f): mean, deviation, weight
        tuple kernel,       # its length, squared, and the share of the embeddings' dot product in it
        weights,            # IN (R + 1, 1 + width)
        variance,           # IN like weights
        cost_weights,       # IN (2 R + 2, 1 + width): of the cost, and of its ratio to an estimate
        figures,            # IN (6, R + 1) float64: observations, mean cost, mean latency; least of both cost_weights; shifted
        double prior_route,
        tuple curve,        # intercept, slope and reciprocal of the mean steepness; zeros: there is none
        tuple exploration,  # temperature, floor, newcomer, warm_up, paced_warm_up, pessimism
        Py_ssize_t dim,     # of a query
    ):
        cdef sona_router *router = &self.router
        cdef const sona_f64 *told = <const sona_f64 *> data_of(figures, cnp.NPY_FLOAT64, 2, "figures")
        cdef const sona_f32 *of_features = floats(features, 2, "features")
        cdef Py_ssize_t routes = axis(weights, 0)
        floats(landmarks, 2, "landmarks")
        floats(transform, 2, "transform")
        floats(weights, 2, "weights")
        floats(variance, 2, "variance")
        floats(cost_weights, 2, "cost_weights")
        router.norms = floats(norms, 1, "norms")
        router.dim = dim
        router.f = axis(features, 1)
        router.marks = axis(landmarks, 0)
        router.width = axis(weights, 1) - 1
        same(3, axis(features, 0), "features")
        same(6, axis(figures, 0), "figures")
        same(router.marks, axis(norms, 0), "norms")
        if router.marks:
            same(dim + router.f, axis(landmarks, 1), "landmarks")
            same(router.width, axis(transform, 0), "transform")
            same(router.marks, axis(transform, 1), "transform")
        elif router.width:
            raise InvalidValue(f"weights of width {router.width} have no landmarks")
        same_shape(variance, weights, "variance")
        same(routes, axis(figures, 1), "figures")
        same(2 * routes, axis(cost_weights, 0), "cost_weights")
        same(router.width + 1, axis(cost_weights, 1), "cost_weights")
        router.mean = of_features
        router.deviation = of_features + router.f
        router.weight = of_features + 2 * router.f
        router.count = told
        router.cost = told + routes
        router.latency = told + 2 * routes
        router.least = told + 3 * routes
        router.shifted = told + 5 * routes
        router.rows = routes
        router.inverse_length, router.linear = 1.0 / kernel[0], kernel[1]
        router.prior_route = prior_route
        router.intercept, router.slope, router.per_steepness = curve
        router.temperature, router.floor, router.newcomer, *warm_ups, router.pessimism = exploration
        router.warm_up, router.paced_warm_up = warm_ups
        landmarks, transform = aligned(landmarks), aligned(transform)
        weights, variance, cost_weights = aligned(weights), aligned(variance), aligned(cost_weights)
        router.landmarks = floats(landmarks, 2, "landmarks")
        router.transform = floats(transform, 2, "transform")
        router.weights = floats(weights, 2, "weights")
        router.variance = floats(variance, 2, "variance")
        router.cost_weights = floats(cost_weights, 2, "cost_weights")
        router.row, router.near, router.phi = axis(landmarks, 1), axis(transform, 1), axis(weights, 1)
        self.kept = (landmarks, norms, transform, features, weights, variance, cost_weights, figures)

    @property
    def dim(self):
        """The length of a query."""
        return self.router.dim

    def decide(
        self,
        x,              # IN (dim,) float32, of any length but 0
        features,       # IN (f,) float32, or None
        rows,           # IN (k,) int64 of weights
        costs,          # (k,) estimates, or None: what is known of them
        double price,
        budget,         # None: there is none
        double cost_weight,
        double latency_weight,
        double draw,    # uniform in [0, 1)
    ):
        """One decision: (place drawn, its propensity, reason, scores (k,), values (k,), expected costs (k,)).

        Returns None if x must be converted or refused, as `CentroidBlock.nearest` does.
        """
        cdef float inverse_norm
        cdef const sona_f32 *px = direct(x, self.router.dim, &inverse_norm)
        cdef const sona_f32 *told = NULL
        cdef const int64_t *which = <const int64_t *> data_of(rows, cnp.NPY_INT64, 1, "rows")
        cdef Py_ssize_t k = axis(rows, 0), routes = axis(self.kept[4], 0), i, place
        cdef Py_ssize_t most = 2 * self.router.phi + self.router.row + 2 * self.router.near
        cdef double propensity = 0.0
        cdef int reason = 0
        cdef sona_terms terms
        cdef double *numbers
        cdef sona_f32 *phi
        if px == NULL:
            return None
        if features is not None:
            told = floats(features, 1, "features")
            same(self.router.f, axis(features, 0), "features")
        if k == 0:
            raise InvalidValue("rows is empty, expected one candidate or more")
        for i in range(k):
            if not 0 <= which[i] < routes:
                raise InvalidValue(f"rows[{i}] is {which[i]}, expected 0 to {routes - 1}")
        terms.price, terms.cost_weight, terms.latency_weight, terms.draw = price, cost_weight, latency_weight, draw
        terms.budget = NAN if budget is None else budget
        numbers = <double *> PyMem_Malloc(9 * k * sizeof(double) + most * sizeof(sona_f32) + LINE)
        if numbers == NULL:
            raise MemoryError
        phi = <sona_f32 *> ((<size_t> (numbers + 9 * k) + LINE - 1) // LINE * LINE)
        try:
            if costs is not None:
                same(k, len(costs), "costs")
                for i in range(k):
                    numbers[8 * k + i] = costs[i]
            sona_router_features(sona_active, &self.router, px, inverse_norm, told, phi + 2 * self.router.phi, phi,
                                 phi + self.router.phi)
            place = sona_decide(
                sona_active, &self.router, phi, phi + self.router.phi, which, k,
                NULL if costs is None else numbers + 8 * k, &terms, numbers, numbers + k, numbers + 2 * k, numbers + 3 * k,
                &propensity, &reason,
            )
            return (place, propensity, REASONS[reason], tuple([numbers[i] for i in range(k)]),
                    tuple([numbers[k + i] for i in range(k)]), tuple([numbers[2 * k + i] for i in range(k)]))
        finally:
            PyMem_Free(numbers)


def prices_of(
    tuple names,
    costs,          # a mapping from names to numbers
):
    """(k,) costs as floats; None if one is missing, negative, not finite or no plain number."""
    cdef list prices = []
    cdef double price
    if type(costs) is not dict:
        return None
    for name in names:
        cost = (<dict> costs).get(name)
        if type(cost) is not float and type(cost) is not int:
            return None
        try:
            price = cost
        except OverflowError:
            return None
        if not 0.0 <= price < 1e300:
            return None
        prices.append(price)
    return tuple(prices)


@cython.final
cdef class PriceWindow:
    """Values and costs of the last calls, and the price of cost at which they would have met the budget.

    Not safe for threads at once.
    """
    cdef sona_pacer pacer

    def __cinit__(self, Py_ssize_t window):
        if window < 1:
            raise InvalidValue(f"window is {window}, expected 1 or more")
        self.pacer.window = window
        self.pacer.count = 1
        self._widen(2)

    def __dealloc__(self):
        PyMem_Free(self.pacer.values)
        PyMem_Free(self.pacer.costs)

    cdef int _widen(self, Py_ssize_t width) except -1:
        cdef Py_ssize_t i, size = width * self.pacer.window
        cdef double *values = <double *> PyMem_Realloc(self.pacer.values, size * sizeof(double))
        cdef double *costs
        if values == NULL:
            raise MemoryError
        self.pacer.values = values
        costs = <double *> PyMem_Realloc(self.pacer.costs, size * sizeof(double))
        if costs == NULL:
            raise MemoryError
        self.pacer.costs = costs
        for i in range(self.pacer.width * self.pacer.window, size):
            values[i] = -INFINITY
            costs[i] = 0.0
        self.pacer.width = width
        return 0

    @property
    def width(self):
        """Largest number of candidates in a call."""
        return self.pacer.width

    def put(
        self,
        Py_ssize_t slot,
        values,         # (k,) numbers
        costs,          # (k,) numbers
    ):
        """Store a call; return the range of its costs. -1 if a number is not finite: the call is not stored."""
        cdef Py_ssize_t k = len(values), c, at = slot % self.pacer.window
        cdef double least = INFINITY, most = -INFINITY, value, cost
        if k == 0 or len(costs) != k:
            return -1.0
        for c in range(k):
            value, cost = values[c], costs[c]
            if not (isfinite(value) and isfinite(cost)):
                return -1.0
            least, most = min(least, cost), max(most, cost)
        if k > self.pacer.width:
            self._widen(k)
        for c in range(self.pacer.width):
            self.pacer.values[c * self.pacer.window + at] = values[c] if c < k else -INFINITY
            self.pacer.costs[c * self.pacer.window + at] = costs[c] if c < k else 0.0
        return most - least

    def reprice(self, Py_ssize_t newest, Py_ssize_t seen):
        """Recompute the grid of prices from the calls up to slot `newest`."""
        cdef double *turns = <double *> PyMem_Malloc(SONA_MOST_TURNS * sizeof(double))
        if turns == NULL:
            raise MemoryError
        sona_reprice(&self.pacer, newest % self.pacer.window, min(seen, self.pacer.window), turns)
        PyMem_Free(turns)

    def price(self, double wanted):
        """The price at which the calls of the last `reprice` would have cost `wanted` on average; 0 before the first."""
        return sona_price(&self.pacer, wanted)

    @property
    def turning(self):
        """Whether some price would change the route of a remembered call."""
        return self.pacer.count > 1

    def least_cost(self, Py_ssize_t seen):
        """The sum of the `seen` first slots' cheapest candidates."""
        cdef Py_ssize_t slot, c
        cdef double total = 0.0, least
        for slot in range(min(seen, self.pacer.window)):
            least = INFINITY
            for c in range(self.pacer.width):
                if self.pacer.values[c * self.pacer.window + slot] != -INFINITY:
                    least = min(least, self.pacer.costs[c * self.pacer.window + slot])
            total += least
        return total


def text_features(str text):
    """(3,) float32: the logarithm of the length in characters, and the shares of digits and of symbols."""
    cdef Py_ssize_t digits = 0, symbols = 0, length = max(len(text), 1)
    cdef sona_f32 *out
    cdef Py_UCS4 letter
    for letter in text:
        if letter.isdigit():
            digits += 1
        elif not (letter.isalnum() or letter.isspace()):
            symbols += 1
    made = empty(1, 3, 0, cnp.NPY_FLOAT32)
    out = <sona_f32 *> cnp.PyArray_DATA(<cnp.ndarray> made)
    out[0] = <float> log(<double> length)
    out[1] = <float> (<double> digits / length)
    out[2] = <float> (<double> symbols / length)
    return made
