import { KVM_IOCTL } from '../../src/kvm/abi/ioctl-numbers.ts'
import { errnoName } from '../../src/linux/errno.ts'
import { findCpuid } from '../../src/vmm/cpuid-list.ts'
import { ProcessDied } from '../../src/vmm/errors.ts'
import { isPredicted, shownFeatures, standardBytes, suppliedFeatures, type VcpuFacts } from './facts.ts'
import {
  predictPrctl,
  predictSetCpuid2,
  predictSetMsrs,
  predictSetXcrs,
  predictSetXsave,
  wantedSpace,
  XSTATE_MSRS,
} from './predict.ts'
import type { Pointer, Step } from './steps.ts'
import type { Subject } from './subject.ts'

/** What is wrong with what a call did. */
export interface Complaint {
  readonly step: Step
  readonly what: string
}

export interface Judgement {
  /** `KVM_SET_XSAVE EINVAL`, `KVM_SET_MSRS ok`; what is counted. */
  readonly outcome: string
  readonly complaint: Complaint | null
  /** What the rules know of the vCPU does not hold any more; or its process is gone. */
  readonly retire: boolean
}

/** KVM_RUN ended in an oops of the host, where it had to (GFPU-53). */
export const OOPS = 'run oops'

/** Every errno that a system call about KVM may give here. */
const ERRNOS = new Set([1, 2, 4, 5, 6, 7, 9, 11, 12, 14, 16, 17, 19, 22, 24, 25, 28, 38, 95])
const [E2BIG, EFAULT, EINVAL] = [7, 14, 22]
/** Raw ioctls after which the facts may be others. */
const CHANGES_FACTS = new Set<number>([
  ...[KVM_IOCTL.KVM_SET_CPUID, KVM_IOCTL.KVM_SET_CPUID2, KVM_IOCTL.KVM_SET_MSRS, KVM_IOCTL.KVM_SET_XCRS],
  ...[KVM_IOCTL.KVM_SET_XSAVE, KVM_IOCTL.KVM_ENABLE_CAP, KVM_IOCTL.KVM_X86_SET_MSR_FILTER],
])

/** Makes one call and holds what came of it against the rules. `before`: digest of the state it met. */
export function judge(subject: Subject, step: Step, before: string): Judgement & { after: string } {
  let result: number
  try {
    result = subject.make(step)
  } catch (error) {
    return { ...ofException(subject, step, error), after: before, retire: true }
  }
  const name = nameOf(step)
  const outcome = `${name} ${result < 0 ? errnoName(-result) : 'ok'}`
  const complain = (what: string) => ({ outcome, complaint: { step, what }, retire: true, after: before })
  const wrong = expectation(subject, step, result)
  if (wrong !== null) return complain(`${outcome}: ${wrong}`)
  const isShown = result >= 0 && step.call === 'KVM_SET_XSAVE' && isPredicted(subject.facts.host.profile)
  // Before the digest, which may swap the guest FPU.
  const shown = isShown ? subject.xstateBv() : null
  const after = subject.state.digest()
  if (result < 0 && step.call !== 'run' && after !== before) return complain(`${outcome}: refused, and the state is another`)
  const retire = learn(subject, step, result)
  const wrongBv = shown === null ? null : wrongXstateBv(subject, shown)
  return wrongBv === null ? { outcome, complaint: null, retire, after } : complain(wrongBv)
}

const nameOf = (step: Step): string => (step.call === 'raw' ? `${step.on}:${step.name}` : step.call)

/** Only a process whose kernel oopsed may end so. */
function ofException(subject: Subject, step: Step, error: unknown): Judgement {
  const died = error instanceof ProcessDied && error.rule === 'GFPU-53' && step.call === 'run'
  if (died && (subject.xstateBvStored & BigInt(subject.facts.xfd)) !== 0n) return { outcome: OOPS, complaint: null, retire: true }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { outcome: `${nameOf(step)} uncaught`, complaint: { step, what: `uncaught ${text}` }, retire: true }
}

/** Why a result is not what the rules say; null when it is. */
function expectation(subject: Subject, step: Step, result: number): string | null {
  const { facts } = subject
  const errno = result < 0 ? -result : 0
  const mustBe = ({ errno: wanted, rule }: { errno: number; rule: string }) =>
    wanted === errno ? null : `the rules say ${wanted === 0 ? 'accepted' : errnoName(wanted)} (${rule})`
  if (!isPredicted(facts.host.profile)) return errno === 0 || ERRNOS.has(errno) ? null : `errno ${errno} is none of KVM's`
  switch (step.call) {
    case 'KVM_SET_XSAVE':
      return mustBe(predictSetXsave(facts, subject.image, readable(step.at)))
    case 'KVM_SET_XCRS':
      return mustBe(predictSetXcrs(facts, { ...step, entries: step.xcrs }, readable(step.at) >= 0x188))
    case 'KVM_SET_CPUID2':
      return cpuidExpectation(subject, step, errno, mustBe)
    case 'KVM_SET_MSRS':
      return msrExpectation(facts, step, result)
    case 'prctl':
      return mustBe(predictPrctl(facts, step.option, step.argument))
    case 'raw':
      return ERRNOS.has(errno) || errno === 0 ? null : `errno ${errno} is none of KVM's`
    case 'run':
      return errno === 0 || ERRNOS.has(errno) ? null : `errno ${errno} is none of KVM_RUN's`
  }
}

const readable = (at: Pointer): number => (at === 'memory' ? Number.POSITIVE_INFINITY : at === 'nowhere' ? 0 : at.readable)

type CpuidStep = Extract<Step, { call: 'KVM_SET_CPUID2' }>

/** The list a step leaves in the vCPU: `count` entries, those beyond the list zero. */
function effectiveList(subject: Subject, step: CpuidStep) {
  const list = subject.cpuidList(step)
  const count = step.count ?? list.length
  return { count, list: list.slice(0, count) }
}

function cpuidExpectation(
  subject: Subject,
  step: CpuidStep,
  errno: number,
  mustBe: (prediction: { errno: number; rule: string }) => string | null,
): string | null {
  const { facts } = subject
  const { count, list } = effectiveList(subject, step)
  const bytes = readable(step.at)
  if (bytes < 8) return mustBe({ errno: EFAULT, rule: 'XSAVE-48' })
  const leaf = findCpuid(list, 0xd, 0)
  const xcr0 = leaf === undefined ? 0n : (BigInt(leaf.edx) << 32n) | BigInt(leaf.eax)
  const asked = { count, addressSizes: findCpuid(list, 0x80000008)?.eax, xcr0 }
  const { kvm } = facts.host.profile
  const checksAfterRun = facts.hasRun && count <= 256 && bytes >= 8 + count * 40
  if (checksAfterRun && kvm.rejectsAnyCpuidAfterRun) return mustBe({ errno: EINVAL, rule: 'XSAVE-49' })
  // The list in force is accepted, any other refused; the state stays in either case, which is checked.
  if (checksAfterRun && kvm.rejectsChangedCpuidAfterRun) return errno === 0 ? null : mustBe({ errno: EINVAL, rule: 'XSAVE-49' })
  return mustBe(predictSetCpuid2(facts, asked, bytes >= 8 + count * 40))
}

type MsrStep = Extract<Step, { call: 'KVM_SET_MSRS' }>

function msrExpectation(facts: VcpuFacts, { msrs, count, at }: MsrStep, result: number): string | null {
  const bytes = readable(at)
  const wanted = bytes < 8 ? -EFAULT : count > 255 ? -E2BIG : bytes < 8 + count * 16 ? -EFAULT : null
  if (wanted !== null) return result === wanted ? null : `got ${result}, the rules say ${wanted} (KAPI-73)`
  const list = msrs.slice(0, count)
  const done = predictSetMsrs(facts, list)
  // Entries that a larger count adds are MSR 0; other MSRs have rules of their own.
  const known = list.every(({ index }) => XSTATE_MSRS.includes(index)) && count <= msrs.length
  if (known) return result === done ? null : `did ${result}, the rules say ${done} (GFPU-26, XSAVE-55)`
  return result >= 0 && result <= count ? null : `did ${result} of ${count}`
}

/** GET after SET: what was supplied and may be shown, XSAVE-06. */
function wrongXstateBv(subject: Subject, shown: bigint): string | null {
  const wanted = subject.xstateBvStored & BigInt(shownFeatures(subject.facts) >>> 0)
  return shown === wanted
    ? null
    : `KVM_GET_XSAVE2 shows XSTATE_BV 0x${shown.toString(16)}, not 0x${wanted.toString(16)} (XSAVE-06)`
}

/** Takes an accepted call into what is known of the vCPU. True when that cannot be done. */
function learn(subject: Subject, step: Step, result: number): boolean {
  const { facts } = subject
  if (result < 0 && step.call !== 'run') return false
  switch (step.call) {
    case 'KVM_SET_XSAVE':
      subject.xstateBvStored = suppliedFeatures(facts, new DataView(subject.image.buffer).getBigUint64(512, true))
      return false
    case 'KVM_SET_CPUID2':
      if (!facts.hasRun || !facts.host.profile.kvm.rejectsChangedCpuidAfterRun) learnCpuid(subject, step)
      return false
    case 'KVM_SET_MSRS': {
      const done = step.msrs.slice(0, Math.min(result, step.count))
      for (const { index, value } of done) if (index === 0x1c4) learnXfd(subject, Number(value))
      return done.some(({ index }) => !XSTATE_MSRS.includes(index))
    }
    case 'raw':
      return CHANGES_FACTS.has(step.request)
    case 'run':
      facts.hasRun = true
      // The image was saved again: its XSTATE_BV is what the registers say.
      subject.xstateBvStored = subject.xstateBv()
      return !subject.entered
    default:
      return false
  }
}

function learnXfd({ facts }: Subject, xfd: number): void {
  facts.xfd = xfd
}

function learnCpuid(subject: Subject, step: CpuidStep): void {
  const { facts } = subject
  const { list } = effectiveList(subject, step)
  const leaf = findCpuid(list, 0xd, 0)
  facts.cpuidXcr0 = leaf === undefined ? 0n : (BigInt(leaf.edx) << 32n) | BigInt(leaf.eax)
  const d1 = findCpuid(list, 0xd, 1)
  facts.cpuidD1 = d1 === undefined ? null : { eax: d1.eax, ecx: d1.ecx }
  facts.hasXsaveBit = ((findCpuid(list, 1)?.ecx ?? 0) & (1 << 26)) !== 0
  const { host } = facts
  const { guestPermission } = host.profile.permissions
  const added = wantedSpace(facts, facts.cpuidXcr0) & host.userMax
  if (added === 0) return
  facts.enlarged |= added
  // The space was there from the start, and nothing is lost (PERM-64).
  if (guestPermission === 'ignored') facts.uabiSize = standardBytes(host, host.userDefault | facts.enlarged)
  else {
    // GFPU-39, -40: a new image in its initial state, as large as everything permitted.
    facts.uabiSize = standardBytes(host, host.userDefault | facts.permitted)
    facts.xfd &= ~added
    subject.xstateBvStored = 0n
  }
}
