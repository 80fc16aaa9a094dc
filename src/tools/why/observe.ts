import { MSR_IA32_DEBUGCTLMSR, MSR_TEST_CTRL } from '../../isa/msr-index.ts'
import { signalName } from '../../linux/signal/signals.ts'
import { EXIT_REASON_EXCEPTION_NMI } from '../../machine/exits.ts'
import type { Vmcs } from '../../machine/vmcs.ts'
import { Host } from '../../vmm/modelled/host.ts'
import type { Process } from '../../vmm/process.ts'
import type { VcpuFd } from '../../vmm/vcpu-fd.ts'
import { enterGuest, loadGuest, PORT_AC, PORT_APART_DONE, PORT_DONE, PORT_GP } from './guest.ts'

/** The VMM lets this much time pass at each HLT: the guest's locks are this far apart. ns */
export const PAUSE = 10e6
/** QEMU's name of a vCPU thread, as kernel logs show it. */
const THREAD = 'CPU 0/KVM'
const NR_nanosleep = 35
const X86_TRAP_AC = 17
const KVM_BUS_LOCK_DETECTION_EXIT = 2n

/** A run as short as these is over before large regions of code pay. */
export const SHORT_RUN = { regionLimit: 8 }

/** One host and how its VMM and guest use it. */
export interface Setting {
  readonly cpu: string
  readonly kernel: string
  /** split_lock_detect= */
  readonly mode: string
  /** sysctl kernel.split_lock_mitigate; null: this kernel has none. */
  readonly mitigate: boolean | null
  /** The guest turns detection on for itself. */
  readonly guestDetects: boolean
  /** The VMM enables KVM_CAP_X86_BUS_LOCK_EXIT. */
  readonly busLockExit: boolean
}

export type Ending =
  /** The guest ran to its end. */
  | 'ran'
  /** KVM_EXIT_EXCEPTION, and SIGBUS for the vCPU thread. */
  | 'killed'
  /** The guest got #AC. */
  | '#AC'
  /** The guest's own WRMSR of MSR_TEST_CTRL was refused. */
  | '#GP'

/** What came of the guest on one host. Everything is seen on the run. */
export interface Observed {
  readonly ending: Ending
  /** Split locks that the guest completed, of twice LOCKS. */
  readonly completed: number
  /** Virtual time to the end of the locks that lie apart, ns; null: it did not come so far. */
  readonly apart: number | null
  /** ... and from there to the end, ns. */
  readonly burst: number | null
  /** #AC that the host took from the guest. */
  readonly traps: number
  /** KVM_RUNs that ended for a bus lock. */
  readonly busLockExits: number
  /** Each signal that the VMM got: SIGBUS, and si_code. */
  readonly signals: readonly { readonly name: string; readonly code: number }[]
  /** What the run added to the kernel log, without time stamps. */
  readonly log: readonly string[]
  /** The vCPU's thread runs without detection from now on (TIF_SLD). */
  readonly threadUndetected: boolean
  /** The host as booted. */
  readonly host: {
    /** The processor has MSR_TEST_CTRL[29]. */
    readonly canDetect: boolean
    /** ... and the kernel uses the bus-lock debug exception, for programs of the host. */
    readonly trapsBusLocks: boolean
    /** MSR_TEST_CTRL[29], as boot left it. */
    readonly detects: boolean
  }
}

/** Runs the guest on a host of its own. */
export function observe(setting: Setting, decoder: WebAssembly.Module): Observed {
  const { cpu, kernel, mode, mitigate, guestDetects, busLockExit } = setting
  const host = new Host({ cpu, kernel, memory: 16 << 20, splitLockDetect: mode, decoder, engine: SHORT_RUN })
  const { splitLock, clock, log } = host.kernel
  if (mitigate !== null) splitLock.mitigate = mitigate
  const state = bootState(host)
  const traps = countAlignmentChecks(host)
  const process = host.newProcess(THREAD)
  const vm = process.openKvm().createVm()
  if (busLockExit) vm.enableCap('KVM_CAP_X86_BUS_LOCK_EXIT', KVM_BUS_LOCK_DETECTION_EXIT)
  const guest = loadGuest(vm)
  const vcpu = vm.createVcpu()
  enterGuest(vcpu, guestDetects)
  const lines = log.lines.length
  const ran = drive(vcpu, process, () => clock.now)
  return {
    ...ran,
    completed: guest.completed(0),
    traps: traps.count,
    signals: process.takeSignals().map(({ signal, code }) => ({ name: signalName(signal), code })),
    log: log.lines.slice(lines).map((line) => line.replace(/^\[ *[\d.]+\] /, '')),
    threadUndetected: [...host.kernel.tasks.values()].some((task) => task.splitLockAllowed),
    host: state,
  }
}

function bootState({ model, kernel }: Host): Observed['host'] {
  const { processor } = kernel.cpus[0]
  return {
    canDetect: model.splitLockDetect,
    trapsBusLocks: (processor.rdmsr(MSR_IA32_DEBUGCTLMSR) & 4n) !== 0n,
    detects: model.splitLockDetect && (processor.rdmsr(MSR_TEST_CTRL) & (1n << 29n)) !== 0n,
  }
}

/** The VMM's loop. */
function drive(vcpu: VcpuFd, process: Process, now: () => number): Pick<Observed, 'ending' | 'apart' | 'burst' | 'busLockExits'> {
  const pause = sleeper(process, PAUSE)
  const started = now()
  let apart: number | null = null
  let busLockExits = 0
  const end = (ending: Ending) => ({
    ending,
    apart,
    burst: ending === 'ran' && apart !== null ? now() - started - apart : null,
    busLockExits,
  })
  for (;;) {
    const exit = vcpu.run()
    if (exit.reason === 'hlt') pause()
    else if (exit.reason === 'bus-lock') busLockExits++
    else if (exit.reason === 'exception' && exit.exception === X86_TRAP_AC) return end('killed')
    else if (exit.reason === 'io' && exit.port === PORT_APART_DONE) apart = now() - started
    else if (exit.reason === 'io' && exit.port === PORT_DONE) return end('ran')
    else if (exit.reason === 'io' && exit.port === PORT_AC) return end('#AC')
    else if (exit.reason === 'io' && exit.port === PORT_GP) return end('#GP')
    else throw new Error(`the guest left KVM_RUN by ${exit.reason}`)
  }
}

/** nanosleep(2) of a thread of the VMM, to be called again and again. @param time ns */
export function sleeper(process: Process, time: number): () => void {
  const request = process.allocate(4096)
  request.write(0, new Uint8Array(BigInt64Array.of(BigInt(Math.floor(time / 1e9)), BigInt(time % 1e9)).buffer))
  return () => void process.syscall('nanosleep', NR_nanosleep, request.address, 0)
}

/** Counts VM exits for #AC, as a tracer of kvm_exit does. */
export function countAlignmentChecks(host: Host): { count: number } {
  const seen = { count: 0 }
  for (const { processor } of host.kernel.cpus) {
    const virtualizing = processor as typeof processor & { enterGuest(vmcs: Vmcs, budget: number): number }
    const { enterGuest } = virtualizing
    Object.assign(processor, {
      enterGuest: (vmcs: Vmcs, budget: number) => {
        const reason = enterGuest.call(virtualizing, vmcs, budget)
        if (reason === EXIT_REASON_EXCEPTION_NMI && (vmcs.exitInterruptionInfo & 0xff) === X86_TRAP_AC) seen.count++
        return reason
      },
    })
  }
  return seen
}
