import { allocateGuestFpu, freeGuestFpu, type GuestFpu } from '../linux/fpu/door.ts'
import type { Mm } from '../linux/mm/mm.ts'
import type { MmNotifier } from '../linux/mm/notifier.ts'
import type { Task } from '../linux/task.ts'
import { SecondStage } from '../machine/second-stage.ts'
import { Vmcs } from '../machine/vmcs.ts'
import { KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_UNINITIALIZED } from './abi/exit-reasons.ts'
import { apicPage, ioapicWindow } from './irqchip/apic-page.ts'
import { Ioapic } from './irqchip/ioapic.ts'
import type { IrqFd } from './irqchip/irqfd.ts'
import { Lapic } from './irqchip/lapic.ts'
import { Pic } from './irqchip/pic.ts'
import { Pit } from './irqchip/pit.ts'
import { defaultRouting, type RoutingEntry, setGsi } from './irqchip/routing.ts'
import type { Kvm } from './kvm.ts'
import { IoBus } from './memory/bus.ts'
import { markDirty } from './memory/dirty-log.ts'
import { GuestMemory } from './memory/guest-memory.ts'
import { Memslots } from './memory/memslots.ts'
import type { MsrFilter } from './msr/filter.ts'
import { newControls, updateExceptionBitmap } from './run/intercepts.ts'
import { MmioState } from './run/mmio.ts'
import { newPioState } from './run/pio.ts'
import { newVcpuStats } from './stats.ts'
import { resetVcpuState, startAtSipiVector } from './vcpu/reset.ts'
import { RunPage } from './vcpu/run-page.ts'
import { newGuestSplitLock } from './vcpu/split-lock.ts'
import { REQ_EVENT, REQ_IOAPIC_EOI_EXIT, REQ_MSR_FILTER_CHANGED, REQ_NMI, REQ_VM_DEAD, Vcpu } from './vcpu/vcpu.ts'
import { VmClock } from './vm-clock.ts'

/** KVM_CAP_MAX_VCPU_ID, KVM_CAP_MAX_VCPUS. */
export const KVM_MAX_VCPU_IDS = 4096
export const KVM_MAX_VCPUS = 1024

const PIC_PORTS = [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1]
const PIT_PORTS = [0x40, 0x41, 0x42, 0x43, 0x61]

/** No in-kernel interrupt controller; PIC, IOAPIC and LAPICs; or LAPICs only (KVM_CAP_SPLIT_IRQCHIP). */
export type IrqchipMode = 'none' | 'kernel' | 'split'

/** One virtual machine. */
export class Vm {
  readonly kvm: Kvm
  /** Address space of the creator: guest memory is its memory; ioctls from another are EIO (KAPI-02). */
  readonly mm: Mm
  readonly ownerPid: number
  readonly memory: GuestMemory
  readonly bus: IoBus
  readonly clock: VmClock
  readonly vcpus: Vcpu[] = []
  private readonly byId = new Map<number, Vcpu>()
  /** A fatal internal error: every ioctl is EIO (KAPI-03). */
  dead = false

  irqchipMode: IrqchipMode = 'none'
  pic: Pic | null = null
  ioapic: Ioapic | null = null
  pit: Pit | null = null
  routing: RoutingEntry[] = []
  readonly irqfds: IrqFd[] = []

  // ---- KVM_ENABLE_CAP and other settings ----
  disabledQuirks = 0
  disabledExits = 0
  exceptionPayload = false
  tripleFaultEvent = false
  userSpaceMsrMask = 0
  msrFilter: MsrFilter | null = null
  hypercallExits = 0
  /** KVM_BUS_LOCK_DETECTION_EXIT: vCPUs created from now on leave on bus locks (SLD-40). */
  busLockExits = false
  exitOnEmulationFailure = false
  guestReadsPlatformInfo = true
  /** VM types of confidential guests (SEV-ES, SNP, TDX), none of which can be made here: KVM_CREATE_VM takes type 0. GFPU-24. */
  hasProtectedState = false
  x2apicIds32 = false
  x2apicNoBroadcastQuirk = false
  apicBusCycleNs = 1
  maxVcpuIds = 0
  bspVcpuId = 0
  haltPollNs = 0
  manualDirtyLog = 0
  defaultTscKhz: number
  tssAddress = 0
  identityMapAddress = 0xfffbc000
  wallClock = 0n

  private readonly ringHpa: number
  private readonly notifier: MmNotifier
  /** VM fd, vCPU fds, stats fds. KAPI-05. */
  private references = 1

  constructor(kvm: Kvm, task: Task) {
    const { kernel } = kvm
    this.kvm = kvm
    this.mm = task.mm
    this.ownerPid = task.group.pid
    this.defaultTscKhz = kernel.model.tscKhz
    this.clock = new VmClock(kernel)
    this.ringHpa = kernel.pages.allocate()
    this.bus = new IoBus(kernel.machine.mem, this.ringHpa)
    this.memory = new GuestMemory({
      slots: new Memslots(),
      stage: new SecondStage(),
      mem: kernel.machine.mem,
      user: task.mm,
      physicalWritten: (hpa, length) => kernel.machine.physicalWritten(hpa, length),
      onDirty: markDirty,
    })
    this.notifier = {
      invalidateRange: (start, end) => this.memory.invalidateUserRange(start, end),
      release: () => this.memory.stage.clear(),
    }
    this.mm.addNotifier(this.notifier)
    kvm.vms.add(this)
  }

  /** True when there was memory for the VM's own pages. */
  get isUsable(): boolean {
    return this.ringHpa !== 0
  }

  /** A quirk is in force until user space disables it. KAPI-12. */
  hasQuirk(bit: number): boolean {
    return ((this.disabledQuirks >>> bit) & 1) === 0
  }

  // ---- vCPUs ----
  vcpuById(id: number): Vcpu | null {
    return this.byId.get(id) ?? null
  }

  /** KVM_CREATE_VCPU after its argument was checked. Null = no memory. KAPI-10, KAPI-113, GFPU-01. @param ready its FPU, if there is one yet */
  createVcpu(id: number, task: Task, ready: GuestFpu | null = null): Vcpu | null {
    const { kernel } = this.kvm
    const runHpa = kernel.pages.allocateContiguous(2)
    const pioHpa = runHpa + 4096
    const guestFpu = runHpa === 0 ? null : (ready ?? allocateGuestFpu(task))
    if (guestFpu === null) {
      if (ready !== null) freeGuestFpu(ready)
      if (runHpa !== 0) kernel.pages.releaseContiguous(runHpa, 2)
      return null
    }
    const context = kernel.machine.newContext()
    const controls = newControls(this)
    const vmcs = new Vmcs(context, this.kvm.newGuestSpace(this.memory.stage), controls)
    const vcpu = new Vcpu({
      vm: this,
      id,
      index: this.vcpus.length,
      context,
      vmcs,
      run: new RunPage(kernel.machine.mem, runHpa, pioHpa),
      guestFpu,
      splitLock: newGuestSplitLock(this.kvm),
      stats: newVcpuStats(),
      pio: newPioState(),
      mmio: (owner) => new MmioState(owner),
    })
    controls.bind(vcpu)
    if (this.irqchipMode !== 'none') vcpu.lapic = new Lapic(vcpu, kernel.clock)
    this.vcpus.push(vcpu)
    kernel.costs.vcpus.add(vcpu.residency)
    this.byId.set(id, vcpu)
    vcpu.mpState = vcpu.lapic === null || vcpu.isBsp ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED
    resetVcpuState(vcpu, false)
    updateExceptionBitmap(vcpu)
    this.clock.setRate(vcpu, this.defaultTscKhz)
    this.clock.synchronizeTsc(vcpu, 0n)
    return vcpu
  }

  resetVcpu(vcpu: Vcpu, init: boolean): void {
    resetVcpuState(vcpu, init)
  }
  startAtSipiVector(vcpu: Vcpu, vector: number): void {
    startAtSipiVector(vcpu, vector)
  }

  guestTsc(vcpu: Vcpu): bigint {
    return this.clock.guestTsc(vcpu)
  }

  // ---- interrupts ----
  createIrqchip(): void {
    const pic = new Pic()
    pic.onOutput = () => this.picOutputRose()
    pic.onAcknowledge = (irq) => this.lineAcknowledged('pic', irq)
    this.pic = pic
    this.ioapic = new Ioapic(this)
    this.bus.addPorts(PIC_PORTS, pic)
    this.bus.addMemory(ioapicWindow(this.ioapic))
    this.bus.addMemory(apicPage)
    this.routing = defaultRouting()
    this.irqchipMode = 'kernel'
  }

  createSplitIrqchip(): void {
    this.bus.addMemory(apicPage)
    this.irqchipMode = 'split'
  }

  createPit(): Pit {
    const pit = new Pit(this.kvm.kernel.clock, () => {
      setGsi(this, 0, true)
      setGsi(this, 0, false)
    })
    this.pit = pit
    this.bus.addPorts(PIT_PORTS, pit)
    return pit
  }

  private picOutputRose(): void {
    for (const vcpu of this.vcpus) {
      if (!vcpu.lapic?.acceptsPic) continue
      vcpu.request(REQ_EVENT)
      vcpu.kick()
    }
  }

  /** The guest finished an interrupt of a PIC or IOAPIC line: resampling irqfds are told (KAPI-68). */
  lineAcknowledged(chip: 'pic' | 'ioapic', pin: number): void {
    for (const irqfd of this.irqfds) irqfd.acknowledged(chip, pin)
  }

  /** A local APIC finished a vector. */
  apicEoi(vcpu: Vcpu, vector: number, levelTriggered: boolean): void {
    this.ioapic?.endOfInterrupt(vector, levelTriggered)
    if (this.irqchipMode !== 'split' || !levelTriggered) return
    vcpu.pendingIoapicEoi = vector
    vcpu.request(REQ_IOAPIC_EOI_EXIT)
  }

  injectNmi(vcpu: Vcpu): void {
    vcpu.nmiQueued++
    vcpu.request(REQ_NMI | REQ_EVENT)
    vcpu.kick()
  }

  setMsrFilter(filter: MsrFilter): void {
    this.msrFilter = filter
    for (const vcpu of this.vcpus) vcpu.request(REQ_MSR_FILTER_CHANGED)
  }

  /** Page 2 of every vCPU's mapping. */
  get coalescedRingHpa(): number {
    return this.ringHpa
  }

  markDead(): void {
    this.dead = true
    for (const vcpu of this.vcpus) {
      vcpu.request(REQ_VM_DEAD)
      vcpu.kick()
    }
  }

  // ---- lifetime ----
  retain(): this {
    this.references++
    return this
  }
  put(): void {
    if (--this.references > 0) return
    this.destroy()
  }

  private destroy(): void {
    const { kernel } = this.kvm
    this.mm.removeNotifier(this.notifier)
    this.pit?.stop()
    for (const irqfd of this.irqfds) irqfd.detach()
    for (const vcpu of this.vcpus) {
      vcpu.lapic?.timer.cancel()
      freeGuestFpu(vcpu.guestFpu)
      kernel.costs.vcpus.delete(vcpu.residency)
      vcpu.vmcs.space.release()
      kernel.machine.freeContext(vcpu.context)
      kernel.pages.releaseContiguous(vcpu.run.hpa, 2)
    }
    kernel.pages.release(this.ringHpa)
    this.kvm.vms.delete(this)
  }
}
