import { MXCSR, SPILL } from '../../memory-map.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { load } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I32, W } from '../../wasm/opcodes.ts'

/** LDMXCSR: the new value is at SPILL. An assist: a reserved bit is #GP(0). */
registerCallOut('ldmxcsr', (p, ctx) => {
  const value = ctx.mem.i32[(ctx.base + SPILL) >> 2]
  if ((value & p.mxcsrReserved) !== 0) {
    p.raiseGeneralProtection('LDMXCSR: a reserved bit of MXCSR is set')
    return 1
  }
  p.setMxcsr(value)
  return 0
})

const loadMxcsr = (s: InstructionSite) => {
  s.requireSse()
  s.e.setCtx32(SPILL, s.e.loadInt(s.memoryAddress(), 32))
  s.assist('ldmxcsr')
}
const storeMxcsr = (s: InstructionSite) => {
  s.requireSse()
  s.e.storeInt(s.memoryAddress(), 32, load(W.i32_load, I32, s.e.fpu, MXCSR))
}
define('LDMXCSR', loadMxcsr)
define('VLDMXCSR', loadMxcsr)
define('STMXCSR', storeMxcsr)
define('VSTMXCSR', storeMxcsr)
