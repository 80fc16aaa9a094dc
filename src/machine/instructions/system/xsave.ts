import { X86_CR4_OSXSAVE } from '../../../isa/control-registers.ts'
import { CTL, type ExecutionContext, REG } from '../../execution-context.ts'
import { EXIT_REASON_XSETBV } from '../../exits.ts'
import { MODE, SCRATCH_BASE, SPILL } from '../../memory-map.ts'
import { MODE_CODE_64, MODE_CODE_MASK } from '../../mode.ts'
import type { Processor } from '../../processor.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE, EXIT_FAULT_EXACT } from '../../translate/emitter.ts'
import { i32 } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import {
  MODE_LONG,
  MODE_REX_W,
  type RestoreForm,
  type SaveForm,
  XRSTOR,
  XRSTORS,
  XSAVE,
  XSAVEC,
  XSAVEOPT,
  XSAVES,
} from '../../xsave/forms.ts'
import { generalProtection, resync, undefinedOpcode } from './outcome.ts'

/** The XSAVE feature set executed by programs: the area is copied through scratch memory piece by piece. SDM Vol. 1, ch. 13. */

/** Holds any XSAVE area (11008 bytes on Sapphire Rapids). */
const AREA = SCRATCH_BASE + 0x1000
const HEADER = 512
const HEADER_SIZE = 64
const CR0_TS = 8
const CR0_EM = 4
const WIDE = 0x100

const isSupervisor = (form: number): boolean => form === XSAVES

function areaMode(ctx: ExecutionContext, argument: number): number {
  const long = (ctx.mem.u32[(ctx.base + MODE) >> 2] & MODE_CODE_MASK) === MODE_CODE_64
  return (argument & WIDE ? MODE_REX_W : 0) | (long ? MODE_LONG : 0)
}

/** #UD, #NM and #GP that do not depend on the area; 0 when there is none. */
function check(p: Processor, ctx: ExecutionContext, supervisor: boolean): number {
  if ((ctx.ctlLo(CTL.CR4) & X86_CR4_OSXSAVE) === 0) return undefinedOpcode(p, 'CR4.OSXSAVE is clear')
  if (ctx.ctlLo(CTL.CR0) & CR0_TS) {
    p.raise(7, 0, 'CR0.TS is set')
    return EXIT_FAULT_EXACT
  }
  if (supervisor && ctx.cpl !== 0) return generalProtection(p, 'XSAVES or XRSTORS at CPL above 0')
  if ((ctx.mem.i32[(ctx.base + SPILL) >> 2] & 63) !== 0) return generalProtection(p, 'the XSAVE area is not aligned to 64 bytes')
  return 0
}

/** Copies [offset, length) pieces between the area in memory and scratch. */
function copyIn(p: Processor, ctx: ExecutionContext, offset: number, length: number): boolean {
  const at = addressAt(ctx, offset)
  return p.machine.slow.readLinear(at, addressHi, AREA + offset, length)
}
let addressHi = 0
function addressAt(ctx: ExecutionContext, offset: number): number {
  const w = (ctx.base + SPILL) >> 2
  const sum = (ctx.mem.i32[w] >>> 0) + offset
  addressHi = (ctx.mem.i32[w + 1] + (sum >= 0x100000000 ? 1 : 0)) | 0
  return sum | 0
}
function copyOut(p: Processor, ctx: ExecutionContext): boolean {
  const { extents, extentCount } = p.xsaveEngine
  for (let i = 0; i < extentCount; i++) {
    const at = addressAt(ctx, extents[i * 2])
    if (!p.machine.slow.probeWrite(at, addressHi, extents[i * 2 + 1])) return false
  }
  for (let i = 0; i < extentCount; i++) {
    const at = addressAt(ctx, extents[i * 2])
    if (!p.machine.slow.writeLinear(at, addressHi, AREA + extents[i * 2], extents[i * 2 + 1])) return false
  }
  return true
}

/** Argument: form, WIDE with REX.W; linear address at SPILL. */
registerCallOut('xsave', (p, ctx, argument) => {
  const form = (argument & 0xff) as SaveForm
  const refused = check(p, ctx, isSupervisor(form))
  if (refused !== 0) return refused
  if (!copyIn(p, ctx, HEADER, HEADER_SIZE)) return EXIT_FAULT_EXACT
  p.xsaveEngine.save(AREA, ctx.lo(REG.RAX), form, areaMode(ctx, argument))
  return copyOut(p, ctx) ? CONTINUE : EXIT_FAULT_EXACT
})
registerCallOut('xrstor', (p, ctx, argument, info) => {
  const form = (argument & 0xff) as RestoreForm
  const refused = check(p, ctx, form === XRSTORS)
  if (refused !== 0) return refused
  const mode = areaMode(ctx, argument)
  if (!copyIn(p, ctx, HEADER, HEADER_SIZE)) return EXIT_FAULT_EXACT
  const engine = p.xsaveEngine
  engine.restoreExtents(AREA, ctx.lo(REG.RAX), form, mode)
  const { extents, extentCount } = engine
  for (let i = 0; i < extentCount; i++) if (!copyIn(p, ctx, extents[i * 2], extents[i * 2 + 1])) return EXIT_FAULT_EXACT
  const vector = engine.restore(AREA, ctx.lo(REG.RAX), form, mode)
  if (vector !== 0) {
    p.raise(vector, 0, engine.reason)
    return EXIT_FAULT_EXACT
  }
  p.afterRestore()
  return resync(ctx, info)
})

/** Argument: WIDE with REX.W. */
registerCallOut('fxsave', (p, ctx, argument) => {
  const refused = checkFx(p, ctx)
  if (refused !== 0) return refused
  p.xsaveEngine.fxsave(AREA, areaMode(ctx, argument), (ctx.ctlLo(CTL.CR4) & 0x200) !== 0)
  return copyOut(p, ctx) ? CONTINUE : EXIT_FAULT_EXACT
})
registerCallOut('fxrstor', (p, ctx, argument, info) => {
  const refused = checkFx(p, ctx)
  if (refused !== 0) return refused
  if (!copyIn(p, ctx, 0, 512)) return EXIT_FAULT_EXACT
  const vector = p.xsaveEngine.fxrstor(AREA, areaMode(ctx, argument), (ctx.ctlLo(CTL.CR4) & 0x200) !== 0)
  if (vector !== 0) {
    p.raise(vector, 0, p.xsaveEngine.reason)
    return EXIT_FAULT_EXACT
  }
  p.afterRestore()
  return resync(ctx, info)
})
function checkFx(p: Processor, ctx: ExecutionContext): number {
  if (ctx.ctlLo(CTL.CR0) & (CR0_TS | CR0_EM)) {
    p.raise(7, 0, 'CR0.TS or CR0.EM is set')
    return EXIT_FAULT_EXACT
  }
  if ((ctx.mem.i32[(ctx.base + SPILL) >> 2] & 15) !== 0) return generalProtection(p, 'the FXSAVE area is not aligned to 16 bytes')
  return 0
}

registerCallOut('xgetbv', (p, ctx) => {
  if ((ctx.ctlLo(CTL.CR4) & X86_CR4_OSXSAVE) === 0) return undefinedOpcode(p, 'XGETBV: CR4.OSXSAVE is clear')
  const index = ctx.lo(REG.RCX)
  const hasInUse = p.machine.model.has('xgetbv1')
  if (index !== 0 && !(index === 1 && hasInUse)) return generalProtection(p, 'XGETBV: ECX names no register')
  ctx.set32(REG.RAX, index === 0 ? p.xcr0 : p.xsaveEngine.xgetbv1())
  ctx.set32(REG.RDX, 0)
  return CONTINUE
})
/** XSETBV by a guest always exits after the checks the processor makes first (GFPU-44). */
registerCallOut('xsetbv', (p, ctx) => {
  if ((ctx.ctlLo(CTL.CR4) & X86_CR4_OSXSAVE) === 0) return undefinedOpcode(p, 'XSETBV: CR4.OSXSAVE is clear')
  if (ctx.cpl !== 0 || p.vmcs === null) return generalProtection(p, 'XSETBV at CPL above 0')
  return p.vmExit(EXIT_REASON_XSETBV)
})

const onArea = (name: string, argument: number) => (s: InstructionSite) => {
  s.e.setCtx64(SPILL, s.memoryAddress())
  s.callOut(name, i32(argument))
}
const FORMS: [string, string, number][] = [
  ['XSAVE', 'xsave', XSAVE],
  ['XSAVEOPT', 'xsave', XSAVEOPT],
  ['XSAVEC', 'xsave', XSAVEC],
  ['XSAVES', 'xsave', XSAVES],
  ['XRSTOR', 'xrstor', XRSTOR],
  ['XRSTORS', 'xrstor', XRSTORS],
  ['FXSAVE', 'fxsave', 0],
  ['FXRSTOR', 'fxrstor', 0],
]
for (const [name, callOut, form] of FORMS) {
  define(name, onArea(callOut, form))
  define(`${name}64`, onArea(callOut, form | WIDE))
}
define('XGETBV', (s) => s.callOut('xgetbv'))
define('XSETBV', (s) => s.callOut('xsetbv'))
