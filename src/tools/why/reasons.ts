import { LOCKS } from './guest.ts'
import type { Observed, Setting } from './observe.ts'

/** Why it came so, and what can be done about it. */
export interface Reason {
  readonly why: string
  /** Rules of docs and `src/rules` that say so. */
  readonly rules: readonly string[]
  readonly todo: string
}

/** What the guest lost against the same host with split_lock_detect=off, ms. */
export interface Lost {
  readonly apart: number
  readonly burst: number
}

/** The reasons for what was seen. @param lost null: the guest did not come to its end */
export function reasonsFor(setting: Setting, seen: Observed, lost: Lost | null): Reason[] {
  const reasons = [reasonOfEnding(setting, seen, lost)]
  if (seen.busLockExits > 0) {
    reasons.push({
      why: `The VMM enabled KVM_CAP_X86_BUS_LOCK_EXIT: ${seen.busLockExits} KVM_RUNs ended after a bus lock, with KVM_RUN_X86_BUS_LOCK set.`,
      rules: ['SLD-40', 'SLD-41'],
      todo: 'The VMM decides at each of them how long the vCPU has to wait; ours goes on at once.',
    })
  }
  return reasons
}

function reasonOfEnding(setting: Setting, seen: Observed, lost: Lost | null): Reason {
  if (seen.ending === 'killed') return killed(seen)
  if (seen.ending === '#AC') return injected
  if (seen.ending === '#GP') return refused
  if (seen.traps === 0) return undetected(setting, seen)
  if (lost !== null && lost.apart > 0) return slowed(seen, lost)
  return seen.threadUndetected ? flagged : trappedOnly(seen)
}

const killed = ({ signals, log }: Observed): Reason => ({
  why:
    `The lock is #AC, which handle_guest_split_lock() answers with ${signals.map(({ name, code }) => `${name}, si_code ${code}`).join(' ')} ` +
    `(BUS_ADRALN), to the vCPU's thread. KVM_RUN ends with KVM_EXIT_EXCEPTION, RIP still at the lock. ${lines(log)}.`,
  rules: ['SLD-32', 'SLD-33', 'SLD-34', 'SLD-35'],
  todo:
    'Boot the host with split_lock_detect=warn or off, or fix the program in the guest. To handle SIGBUS and run on does not ' +
    'help: the same lock is #AC again.',
})

const injected: Reason = {
  why:
    'The guest set MSR_TEST_CTRL[29] for itself, so KVM injects the #AC of a split lock, at any privilege level; the host neither ' +
    'warns nor waits.',
  rules: ['SLD-47', 'SLD-48'],
  todo: "The guest's own #AC handler decides what comes next; ours stops the guest at the first lock.",
}

const refused: Reason = {
  why: 'The guest is not offered detection here: its WRMSR of MSR_TEST_CTRL[29] is #GP.',
  rules: ['SLD-44', 'SLD-45'],
  todo: 'A guest has to look at IA32_CORE_CAPS[5] first.',
}

function slowed({ traps, log }: Observed, lost: Lost): Reason {
  const each = (lost.apart + lost.burst) / traps
  return {
    why:
      `The host took ${traps} #AC, and at each split_lock_warn() let the vCPU's thread sleep: ${round(each)} ms each. The thread then holds buslock_sem ` +
      `and runs undetected for two jiffies, so that ${LOCKS} locks in a burst cost ${round(lost.burst)} ms. ${lines(log)}.`,
    rules: ['SLD-19', 'SLD-20', 'SLD-32'],
    todo:
      'Fix the program in the guest: the address in the log is its RIP. Until then set kernel.split_lock_mitigate=0 (a sysctl since ' +
      '6.2), or split_lock_detect=off at boot; both let its bus locks stop all other processors.',
  }
}

const flagged: Reason = {
  why:
    'The first lock is #AC; split_lock_warn() logs it and sets TIF_SLD: the vCPU thread runs undetected for the rest of its life, ' +
    'and nothing waits.',
  rules: ['SLD-22', 'SLD-26', 'SLD-27'],
  todo: 'Nothing is needed for speed; the line in the log names the thread, and its RIP is that of the program in the guest.',
}

const trappedOnly = ({ traps }: Observed): Reason => ({
  why: `The host took ${traps} #AC, but without kernel.split_lock_mitigate split_lock_warn() only turns detection off for two jiffies.`,
  rules: ['SLD-15', 'SLD-19'],
  todo: 'Nothing is needed for speed; the bus locks of this guest stop all other processors.',
})

/** Nothing trapped. */
function undetected({ mode, guestDetects }: Setting, { host }: Observed): Reason {
  const noneNeeded = 'Nothing has to be done for this guest; but nothing tells which of its programs takes bus locks, either.'
  if (!host.canDetect) {
    const trap = host.trapsBusLocks
      ? " Its bus-lock debug exception is on for programs of the host only: IA32_DEBUGCTL is the guest's own while it runs."
      : ''
    return {
      why: `This processor cannot raise #AC for split locks.${trap}`,
      rules: host.trapsBusLocks ? ['SLD-03', 'SLD-14', 'SLD-24', 'SLD-42'] : ['SLD-03', 'SLD-10'],
      todo: noneNeeded,
    }
  }
  if (guestDetects) {
    return {
      why: 'The guest set MSR_TEST_CTRL[29] for itself, but outside warn mode KVM only stores it: the processor keeps what the host set, 0.',
      rules: ['SLD-43', 'SLD-45'],
      todo: 'A guest that wants to be told needs a host in warn or fatal mode.',
    }
  }
  if (host.detects) {
    return {
      why: 'The guest left its MSR_TEST_CTRL[29] 0, and KVM puts that into the processor before VM entry: its locks run undetected.',
      rules: ['SLD-43', 'SLD-47'],
      todo: noneNeeded,
    }
  }
  if (host.trapsBusLocks) {
    return {
      why:
        `${option(mode)} leaves MSR_TEST_CTRL[29] 0 and counts bus locks by #DB, but those of the host's programs only: IA32_DEBUGCTL is ` +
        "the guest's own while it runs.",
      rules: ['SLD-14', 'SLD-24', 'SLD-42'],
      todo: 'To limit a guest, let its VMM enable KVM_CAP_X86_BUS_LOCK_EXIT.',
    }
  }
  return { why: `${option(mode)} leaves MSR_TEST_CTRL[29] 0: no lock is #AC.`, rules: ['SLD-03', 'SLD-14'], todo: noneNeeded }
}

const option = (mode: string): string => `split_lock_detect=${mode}`
const round = (ms: number): number => Math.round(ms * 10) / 10
const lines = (log: readonly string[]): string =>
  log.length === 0 ? 'The kernel log says nothing' : `The kernel log has ${log.length === 1 ? 'one line' : `${log.length} lines`}`
