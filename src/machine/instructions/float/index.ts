/** Floating-point arithmetic: importing this defines it. */
import './arithmetic.ts'
import './compare.ts'
import './convert.ts'
import './x87.ts'
import './avx512.ts'
import './horizontal.ts'
import './round.ts'
import './fused.ts'
