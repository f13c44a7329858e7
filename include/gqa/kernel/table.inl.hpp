/// Packing widens 16-bit keys as well, so it pays for fewer rows.
template <element K>
inline constexpr int dot_limit = K == element::f32 ? dot_rows : dot_rows * 3 / 4;

// The region's functions as one table for each combination of element types.
template <element Q, element K, element V, element Out>
inline constexpr kernel_table table = {region_isa,
                                       row_tile,
                                       dot_limit<K>,
                                       value_columns,
                                       &load_query<Q>,
                                       &pack_queries<Q>,
                                       &score_dot<K>,
                                       &score_panels<K>,
                                       &pack_rows<K>,
                                       &pack_tiles<K>,
                                       &score_panels<element::f32>,
                                       &weigh<V>,
                                       &weigh<element::f32>,
                                       &pack_values<V>,
                                       &values_finite<V>,
                                       &softcap,
                                       &alibi,
                                       &add_bias,
                                       &soften,
                                       &fold_sums,
                                       &merge,
                                       &finish<Out>};
