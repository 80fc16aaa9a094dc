import { define } from '../../translate/definitions.ts'
import { i32, ne, select } from '../../translate/expr.ts'

/** Condition codes in encoding order (SDM Vol. 1, Appendix B). */
const CONDITIONS = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G']

CONDITIONS.forEach((name, code) => {
  // The source is read, and a 32-bit destination's upper half cleared, whether or not the condition holds.
  define(`CMOV${name}`, (s) => {
    const source = s.read(1)
    const old = s.read(0)
    s.write(0, select(s.e.flags.condition(code), source, old))
  })
  define(`SET${name}`, (s) => s.write(0, ne(32, s.e.flags.condition(code), i32(0))))
})
