#!/bin/sh
# region_text.sh SOURCE_DIR
# What the text of a region must not contain: includes beyond other region text, names of std or Eigen, lambdas, and
# statics that are not constants. Prints each offending line.
set -eu

cd "$1/include/gqa"
texts=$(find . -name '*.inl.hpp')
[ -n "$texts" ] || { echo "found no region text"; exit 1; }
failed=0
refuse() {  # what, pattern, exception
  for text in $texts; do
    if sed 's,//.*,,' "$text" | grep -nE "$2" | grep -vE "$3"; then
      echo "^ $1 inside a region: $text"
      failed=1
    fi
  done
}
refuse 'an include' '^ *# *include' '# *include (".*\.inl\.hpp"|GQA_REGION_VEC)'
refuse 'a name of std' 'std::' 'std::(u?int(8|16|32|64)_t|size_t|byte)\b'
refuse 'a name of Eigen' 'Eigen::' '^$'
refuse 'a lambda' '\[[&=]?\] *[({]|\[[&=][A-Za-z_, &]*\] *\(' '^$'
refuse 'a static that is no constant' '^[^(]*\bstatic [^(]*(=|;)' 'static constexpr|static_assert|static inline'
exit $failed
