import { define } from '../../translate/definitions.ts'
import { i32 } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { gprNumber } from '../../translate/instruction.ts'

// No effect in this model: one processor runs at a time and there are no caches. Operands are not accessed.
const WITHOUT_EFFECT = [
  'NOP',
  'RESERVEDNOP',
  'PAUSE',
  'LFENCE',
  'SFENCE',
  'MFENCE',
  'CLDEMOTE',
  'SERIALIZE',
  'PREFETCH',
  'PREFETCHNTA',
  'PREFETCHT0',
  'PREFETCHT1',
  'PREFETCHT2',
  'PREFETCHW',
  'PREFETCHWT1',
  'PREFETCHIT0',
  'PREFETCHIT1',
]
for (const mnemonic of WITHOUT_EFFECT) define(mnemonic, () => {})

// Cache-line instructions fault as a byte read does (SDM Vol. 2, CLFLUSH).
const touchLine = (s: InstructionSite): void => {
  s.e.readPointer(s.memoryAddress(), 1)
}
for (const mnemonic of ['CLFLUSH', 'CLFLUSHOPT', 'CLWB']) define(mnemonic, touchLine)

/** Argument of the call-out 'random': register number, width in bits << 8, RDSEED << 16. */
const random =
  (seed: boolean) =>
  (s: InstructionSite): void =>
    s.callOut('random', i32(gprNumber(s.d.opRegister[0]) | (s.bitsOf(0) << 8) | (seed ? 1 << 16 : 0)))
define('RDRAND', random(false))
define('RDSEED', random(true))
