import { X86_TRAP_AC } from '../../isa/vectors.ts'
import { XFEATURE_MASK_XTILE_DATA, XFEATURE_XTILE_DATA } from '../../isa/xfeatures.ts'
import { SIGBUS } from '../../linux/signal/signals.ts'
import { cpuidXcr0 } from '../cpuid-list.ts'
import type { IoExit, MmioExit, VcpuExit } from '../exits.ts'
import type { Kvm } from '../kvm.ts'
import type { Process } from '../process.ts'
import type { ProcessMemory } from '../process-memory.ts'
import type { VcpuFd } from '../vcpu-fd.ts'
import type { VmFd } from '../vm-fd.ts'
import { XsaveImage } from '../xsave-image.ts'
import { loadGuestMemory, loadWords, setEntryState } from './entry-state.ts'
import { guestCpuid, hostBrand } from './guest-cpuid.ts'
import type { GuestFile } from './guest-file.ts'
import type { GuestState } from './guest-state.ts'
import { type Obstacle, obstacles } from './obstacles.ts'
import { PORT_CHECKPOINT, PORT_CONSOLE, PORT_EXIT } from './ports.ts'
import { restoreMemory, restoreVcpu } from './restore.ts'
import { saveMemory, saveVcpu } from './save.ts'

/** What the VMM tells of a run, in order. */
export interface SmallVmmWatcher {
  /** A character the guest printed. */
  console(byte: number): void
  /** Something that matters happened: `vmm_save`, `vmm_guest_exit`, ... */
  event?(name: string, values: Record<string, number | string>): void
}

/** How a stretch of a run ended. */
export type RunOutcome =
  /** The instructions or exits allowed are used up. */
  | { readonly kind: 'running' }
  /** The guest wishes to be saved; `value` tells its checkpoints apart. */
  | { readonly kind: 'checkpoint'; readonly value: number }
  /** The guest has finished. */
  | { readonly kind: 'exited'; readonly status: number }
  /** The guest cannot go on. */
  | { readonly kind: 'stopped'; readonly because: string }

/** A saved guest does not fit the host it shall go on on. */
export class RestoreError extends Error {
  readonly obstacles: readonly Obstacle[]
  constructor(host: string, found: readonly Obstacle[]) {
    const [first] = found
    const rule = first.rule === null ? '' : ` (${first.rule})`
    const more = found.length > 1 ? `; and ${found.length - 1} more` : ''
    super(`cannot restore the guest on ${host}: ${first.because}${rule}${more}${first.fix === '' ? '' : `; ${first.fix}`}`)
    this.name = 'RestoreError'
    this.obstacles = found
  }
}

/** A memory slot and the process memory behind it. */
interface MemorySlot {
  readonly slot: number
  readonly guestPhysAddr: number
  readonly size: number
  readonly memory: ProcessMemory
}

export interface RunLimits {
  readonly maxInstructions?: number
  /** Exits handled at most, so that a guest that exits all the time does not hold up its driver. */
  readonly maxExits?: number
}

/**
 * A small virtual machine monitor: one vCPU, memory from 0, three ports, no interrupt controller. Written against the typed
 * client alone, so it runs wherever that does. docs/guest-contract.md.
 */
export class SmallVmm {
  readonly process: Process
  readonly kvm: Kvm
  readonly vm: VmFd
  readonly vcpu: VcpuFd
  /** Exits of the guest so far, by reason. */
  readonly exitCounts: Record<string, number> = {}
  /** Instructions the guest has retired in this VM, where the host counts them. */
  retired = 0
  private readonly slots: MemorySlot[]
  private readonly watcher: SmallVmmWatcher

  private constructor(
    process: Process,
    memory: readonly Omit<MemorySlot, 'memory'>[],
    watcher: SmallVmmWatcher,
    check: (kvm: Kvm) => void,
  ) {
    this.process = process
    this.watcher = watcher
    this.kvm = process.openKvm()
    requestAmx(process, this.kvm)
    check(this.kvm)
    this.vm = this.kvm.createVm()
    this.slots = memory.map((slot) => ({ ...slot, memory: process.allocate(slot.size) }))
    for (const slot of this.slots) this.vm.setUserMemoryRegion(slot)
    this.vcpu = this.vm.createVcpu()
  }

  /** A guest at its entry point. @param words what it is told, at most `MAX_WORDS_BYTES - 1` bytes of UTF-8 */
  static boot(process: Process, guest: GuestFile, memoryBytes: number, watcher: SmallVmmWatcher, words = ''): SmallVmm {
    const vmm = new SmallVmm(process, [{ slot: 0, guestPhysAddr: 0, size: memoryBytes }], watcher, () => {})
    const cpuid = guestCpuid(vmm.kvm.getSupportedCpuid(), hostBrand(process), 0)
    vmm.vcpu.setCpuid2(cpuid)
    watcher.event?.('vmm_cpuid', { entries: cpuid.length, xcr0: hex(cpuidXcr0(cpuid)), xsave_bytes: vmm.vcpu.xsaveSize })
    loadGuestMemory(vmm.slots[0].memory, guest)
    setEntryState(vmm.vcpu, guest.entry, loadWords(vmm.slots[0].memory, words))
    watcher.event?.('vmm_boot', { entry: guest.entry, memory: memoryBytes })
    return vmm
  }

  /** A saved guest. @throws RestoreError when it does not fit this host, before anything of it is applied */
  static restore(process: Process, state: GuestState, watcher: SmallVmmWatcher): SmallVmm {
    const regions = state.memory.map(({ slot, guestPhysAddr, size }) => ({ slot, guestPhysAddr, size }))
    const vmm = new SmallVmm(process, regions, watcher, (kvm) => {
      const found = obstacles(kvm, state.vcpu)
      if (found.length > 0) throw new RestoreError(process.backend.description, found)
    })
    for (const [i, memory] of state.memory.entries()) restoreMemory(vmm.slots[i].memory, memory)
    restoreVcpu(vmm.vcpu, state.vcpu)
    vmm.vm.setClock({ clock: state.clock })
    watcher.event?.('vmm_restore', { ...summary(state), saved_on: state.savedOn })
    return vmm
  }

  /** Everything of the guest, as it stands. It can go on afterwards. */
  save(): GuestState {
    let exit = this.vcpu.completeExit()
    // A string instruction has more items for us before its registers are settled (KAPI-19).
    while (exit.reason !== 'interrupted') {
      this.handle(exit)
      exit = this.vcpu.completeExit()
    }
    const state: GuestState = {
      savedOn: this.process.backend.description,
      clock: this.vm.getClock().clock,
      vcpu: saveVcpu(this.vcpu),
      memory: this.slots.map((slot) => saveMemory(slot.memory, slot.slot, slot.guestPhysAddr)),
    }
    this.watcher.event?.('vmm_save', summary(state))
    return state
  }

  /** Runs until something happens that is not the VMM's own business, or the limits are reached. */
  run(limits: RunLimits = {}): RunOutcome {
    const { backend } = this.process
    const options = { maxInstructions: limits.maxInstructions ?? Number.POSITIVE_INFINITY }
    let exitsLeft = limits.maxExits ?? Number.POSITIVE_INFINITY
    while (options.maxInstructions > 0 && exitsLeft > 0) {
      const exit = this.vcpu.run(options)
      this.retired += backend.retired
      options.maxInstructions -= backend.retired
      exitsLeft--
      const outcome = this.handle(exit)
      if (outcome !== null) return outcome
    }
    return { kind: 'running' }
  }

  /** Ends the VM. */
  close(): void {
    this.process.exit()
  }

  /** Null: the guest goes on. */
  private handle(exit: VcpuExit): RunOutcome | null {
    this.exitCounts[exit.reason] = (this.exitCounts[exit.reason] ?? 0) + 1
    switch (exit.reason) {
      case 'io':
        return this.handlePort(exit)
      case 'interrupted':
        return exit.because === 'idle' ? stopped('the guest sleeps and nothing will wake it') : { kind: 'running' }
      case 'fpu-realloc':
        // It says nothing, and all there is to do is to call KVM_RUN again (GFPU-35).
        return null
      case 'hlt':
        return this.guestExit(exit, stopped('the guest halted with interrupts off, and did not write its status to port 0x501'))
      case 'shutdown':
        return this.guestExit(exit, stopped('the guest took a triple fault'))
      case 'mmio':
        return this.guestExit(exit, stopped(describeMmio(exit)))
      case 'exception':
        return this.guestExit(exit, stopped(this.describeException(exit.exception)))
      case 'internal-error':
        return this.guestExit(exit, stopped(describeInternalError(exit.suberror, exit.data)))
      default:
        return this.guestExit(exit, stopped(`an exit that this VMM does not handle: ${exit.reason}`))
    }
  }

  /** #AC is a split lock that the host does not let pass; any other exception is news. */
  private describeException(vector: number): string {
    const signals = this.process.takeSignals().map(({ signal }) => (signal === SIGBUS ? 'SIGBUS' : `signal ${signal}`))
    const got = signals.length === 0 ? '' : `, and the VMM got ${signals.join(', ')}`
    const why = vector === X86_TRAP_AC ? ': a split lock of the guest, which the host does not let pass (SLD-33)' : ''
    return `KVM_RUN ended with exception ${vector}${got}${why}`
  }

  private handlePort(exit: IoExit): RunOutcome | null {
    const { port } = exit
    if (exit.direction === 'in') {
      exit.data.fill(0xff)
      return null
    }
    if (port === PORT_CONSOLE) {
      if (exit.size === 1 && exit.count === 1) this.watcher.console(exit.value)
      else for (const byte of exit.data) this.watcher.console(byte)
      return null
    }
    const { value } = exit
    if (port === PORT_CHECKPOINT) return this.guestExit(exit, { kind: 'checkpoint', value }, { port, value })
    if (port === PORT_EXIT) return this.guestExit(exit, { kind: 'exited', status: value & 0xff }, { port, value })
    return this.guestExit(exit, null, { port, value })
  }

  private guestExit(exit: VcpuExit, outcome: RunOutcome | null, values: Record<string, number | string> = {}): RunOutcome | null {
    this.watcher.event?.('vmm_guest_exit', { reason: exit.reason, ...values })
    return outcome
  }
}

/**
 * Where the host has AMX, asks to be allowed to give it to guests. Before the first vCPU and before the supported CPUID is
 * read (PERM-23, XSAVE-40).
 */
function requestAmx(process: Process, kvm: Kvm): void {
  if ((kvm.supportedXcr0() & BigInt(XFEATURE_MASK_XTILE_DATA)) === 0n) return
  process.archPrctl.reqXcompGuestPerm(XFEATURE_XTILE_DATA)
}

const stopped = (because: string): RunOutcome => ({ kind: 'stopped', because })
const hex = (value: bigint): string => `0x${value.toString(16)}`

function describeMmio(exit: MmioExit): string {
  const what = exit.isWrite ? 'wrote' : 'read'
  return `the guest ${what} ${exit.length} bytes at ${hex(exit.physAddr)}, where it has no memory`
}

/** suberror 1: KVM could not emulate an instruction; the bytes follow where it knows them (KAPI-39). */
function describeInternalError(suberror: number, data: readonly bigint[]): string {
  const details = data.map(hex).join(' ')
  return `KVM could not go on: internal error ${suberror}${suberror === 1 ? ', an instruction it cannot emulate' : ''} (${details})`
}

function summary(state: GuestState): Record<string, number | string> {
  const { vcpu } = state
  const image = new XsaveImage(vcpu.xsave)
  return {
    rip: hex(vcpu.regs.rip),
    xcr0: hex(vcpu.xcr0 ?? 0n),
    xstate_bv: hex(image.xstateBv),
    components: image.presentNames,
    xsave_bytes: vcpu.xsave.length,
    msrs: vcpu.msrs.length,
    pages: state.memory.reduce((sum, m) => sum + m.runs.reduce((n, run) => n + run.bytes.length / 4096, 0), 0),
  }
}
