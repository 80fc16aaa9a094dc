import { Decoded } from './decoder/decoder.ts'
import { MEMORY_SIZE_NAMES, MNEMONIC_NAMES, OpKind } from './decoder/iced-tables.ts'
import { PHYSICAL_BASE, SEGMENT } from './memory-map.ts'
import { MODE_CODE_64, MODE_CODE_MASK, MODE_USER } from './mode.ts'
import { computeMode } from './mode-of-context.ts'
import { ACCESS_FETCH, WALK_OK } from './page-walk.ts'
import type { Processor } from './processor.ts'
import { bitnessOf } from './translate/region.ts'
import type { Vmcs } from './vmcs.ts'

/** It reads or writes a shadow stack while one is on: CALL, RET, INT, IRET, SYSCALL, SYSENTER, SYSEXIT. */
export const CET_USES_SHADOW_STACK = 1
/** Indirect-branch tracking waits for ENDBRANCH after it: an indirect near branch, a far one other than a far return. */
export const CET_IBT_SOURCE = 2
/** It may change privilege: the settings of both levels matter, else those of the current one. */
export const CET_FAR = 4

const numberOf = (name: string): number => MNEMONIC_NAMES.indexOf(name)
const JMP = numberOf('Jmp')
const CALL = numberOf('Call')
const NEAR_RETURN = numberOf('Ret')
/** Every far branch but JMP and CALL, and what it needs besides CET_FAR. */
const FAR = new Map<number, number>([
  ...['Int', 'Int1', 'Int3', 'Into', 'Syscall', 'Sysenter'].map(
    (name) => [numberOf(name), CET_USES_SHADOW_STACK | CET_IBT_SOURCE] as const,
  ),
  ...['Retf', 'Iret', 'Iretd', 'Iretq', 'Sysexit', 'Sysexitq', 'Sysret', 'Sysretq'].map(
    (name) => [numberOf(name), CET_USES_SHADOW_STACK] as const,
  ),
])

const FAR_POINTERS = ['SegPtr16', 'SegPtr32', 'SegPtr64'].map((name) => MEMORY_SIZE_NAMES.indexOf(name))
/** The JMP or CALL has a near target: a displacement. */
export const isNearBranch = (d: Decoded): boolean => d.opKind[0] >= OpKind.NearBranch16 && d.opKind[0] <= OpKind.NearBranch64
/** The JMP or CALL goes through a far pointer: an immediate, or one in memory. */
export const isFarPointer = (d: Decoded): boolean =>
  d.opKind[0] === OpKind.FarBranch16 ||
  d.opKind[0] === OpKind.FarBranch32 ||
  (d.opKind[0] === OpKind.Memory && FAR_POINTERS.includes(d.memorySize))

/**
 * What an instruction needs of CET if it is on: CET_* bits, 0 for none. A hypervisor's emulator that knows no CET refuses an
 * instruction by it (CET-24; KVM 6.18 asks the same of each opcode).
 */
export function cetUseOf(d: Decoded): number {
  if (d.mnemonic === NEAR_RETURN) return CET_USES_SHADOW_STACK
  if (d.mnemonic !== JMP && d.mnemonic !== CALL) {
    const far = FAR.get(d.mnemonic)
    return far === undefined ? 0 : far | CET_FAR
  }
  const call = d.mnemonic === CALL ? CET_USES_SHADOW_STACK : 0
  if (isNearBranch(d)) return call
  return call | CET_IBT_SOURCE | (isFarPointer(d) ? CET_FAR : 0)
}

const LONGEST = 15

/**
 * `cetUseOf` of the instruction at a guest's RIP, between two of its runs. 0 also when it cannot be fetched or is none: running
 * it then raises what is due. Nothing is raised here.
 */
export function cetUseAtRip(p: Processor, vmcs: Vmcs): number {
  const mode = computeMode(vmcs.context, p.registerFile, p.machine.mem)
  const bytes = fetchBytes(p, vmcs, mode)
  p.machine.decoder.setWindow(bitnessOf(mode), bytes, 0, bytes.length)
  const d = new Decoded()
  return p.machine.decoder.decode(0, d) ? cetUseOf(d) : 0
}

/** The bytes from RIP on, at most 15: up to the first page that cannot be fetched from. */
function fetchBytes(p: Processor, vmcs: Vmcs, mode: number): Uint8Array {
  const { context: ctx, space } = vmcs
  const { machine } = p
  const long = (mode & MODE_CODE_MASK) === MODE_CODE_64
  const bytes = new Uint8Array(LONGEST)
  let lo = long ? ctx.ripLo : (ctx.ripLo + ctx.segmentBaseLo(SEGMENT.CS)) | 0
  let hi = long ? ctx.ripHi : 0
  for (let done = 0; done < LONGEST; ) {
    const { pageWalk } = machine
    const user = (mode & MODE_USER) !== 0
    if (pageWalk.walk(ctx, space.secondStage, lo, hi, ACCESS_FETCH, user, p.registerFile) !== WALK_OK)
      return bytes.subarray(0, done)
    const n = Math.min(LONGEST - done, 4096 - (lo & 0xfff))
    const at = PHYSICAL_BASE + pageWalk.hpaPage * 4096 + (lo & 0xfff)
    bytes.set(machine.mem.u8.subarray(at, at + n), done)
    done += n
    lo = (lo + n) | 0
    if (lo === 0 && long) hi = (hi + 1) | 0
  }
  return bytes
}
