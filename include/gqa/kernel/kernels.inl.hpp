// The kernel text, in reading order; included once for each target by regions.hpp, inside that target's namespace and
// region. No std or Eigen call, no lambda, no other include.
#ifndef GQA_REGION_VEC
#error "kernels.inl.hpp is included by kernel/regions.hpp only"
#endif
// Later files need earlier ones:
// clang-format off
#include "element.inl.hpp"
#ifdef GQA_REGION_VEC8_REGISTER
#include "vec8_register.inl.hpp"
#endif
#include GQA_REGION_VEC
#include "load.inl.hpp"
#include "math.inl.hpp"
#include "score_row.inl.hpp"
#include "score_dot.inl.hpp"
#include "score_panels.inl.hpp"
#include "pack.inl.hpp"
#include "weigh.inl.hpp"
#include "soften.inl.hpp"
#include "state.inl.hpp"
#include "table.inl.hpp"
// clang-format on
