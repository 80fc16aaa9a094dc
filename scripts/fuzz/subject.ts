import { KVM_IOCTL } from '../../src/kvm/abi/ioctl-numbers.ts'
import { kvm_cpuid_entry2, kvm_cpuid2 } from '../../src/kvm/abi/structs.ts'
import { type CpuidEntry2, cpuidToBytes, findCpuid } from '../../src/vmm/cpuid-list.ts'
import { SyscallError } from '../../src/vmm/errors.ts'
import type { Kvm } from '../../src/vmm/kvm.ts'
import type { Host } from '../../src/vmm/modelled/host.ts'
import type { Process } from '../../src/vmm/process.ts'
import type { ProcessMemory } from '../../src/vmm/process-memory.ts'
import type { VcpuFd } from '../../src/vmm/vcpu-fd.ts'
import { type HostFacts, hostFacts, newVcpuFacts, type VcpuFacts } from './facts.ts'
import { Random } from './random.ts'
import type { CpuidStep, Descriptor, Fill, Pointer, Step, XsaveStep } from './steps.ts'
import { WholeState } from './whole-state.ts'

const [NR_ioctl, NR_munmap, NR_arch_prctl] = [16, 11, 158]
const PAGE = 4096
/** Room for arguments; a page that is not there follows. */
const ARGUMENT_PAGES = 16
const ARGUMENT_BYTES = ARGUMENT_PAGES * PAGE
const IMAGE_BYTES = 12288

export interface SubjectOptions {
  /** The process asks for guest permission before the vCPU. */
  readonly permission: boolean
  /** An interrupt controller in the kernel. */
  readonly irqchip: boolean
}

/** A process with one vCPU, into whose calls random arguments go, and what the rules know of it. */
export class Subject {
  readonly process: Process
  readonly kvm: Kvm
  readonly vcpu: VcpuFd
  readonly facts: VcpuFacts
  readonly state: WholeState
  /** The CPUID KVM offered at the start. */
  readonly supported: readonly CpuidEntry2[]
  private readonly argument: ProcessMemory
  /** XSTATE_BV of the vCPU's image, as far as the calls made here tell. */
  xstateBvStored = 0n
  /** The last KVM_RUN surely entered the guest. */
  entered = false
  /** What the last step passed. */
  readonly image = new Uint8Array(IMAGE_BYTES)
  private readonly noise = new Uint8Array(2048)

  constructor(host: Host, options: SubjectOptions) {
    this.process = host.newProcess('fuzz')
    const facts = factsOf(host)
    let permitted = 0
    const { guestPermSupported, guestPermission, facilities } = facts.profile.permissions
    for (const { highestComponent, components } of facilities) {
      if (!options.permission || !guestPermSupported || (components & ~facts.userMax) !== 0) continue
      this.process.archPrctl.reqXcompGuestPerm(highestComponent)
      if (guestPermission === 'enforced') permitted |= components
    }
    this.kvm = this.process.openKvm()
    this.supported = this.kvm.getSupportedCpuid()
    const vm = this.kvm.createVm()
    if (options.irqchip) {
      vm.createIrqchip()
      vm.createPit2()
    }
    this.vcpu = vm.createVcpu()
    this.facts = newVcpuFacts(facts, permitted, findCpuid(this.supported, 0xd, 1)?.ecx ?? 0)
    this.argument = this.process.allocate(ARGUMENT_BYTES + PAGE)
    this.argument.write(0, new Uint8Array(ARGUMENT_BYTES + PAGE))
    this.process.syscall('munmap', NR_munmap, this.argument.address + ARGUMENT_BYTES, PAGE)
    this.state = new WholeState(host, this.process, this.vcpu, this.process.allocate(0x4000))
  }

  /** Makes the call. Returns its result: a value, or -errno. */
  make(step: Step): number {
    switch (step.call) {
      case 'KVM_SET_XSAVE':
        this.buildImage(step)
        return this.ioctl('vcpu', KVM_IOCTL.KVM_SET_XSAVE, this.put(this.image, step.at))
      case 'KVM_SET_XCRS':
        return this.ioctl('vcpu', KVM_IOCTL.KVM_SET_XCRS, this.put(xcrsBytes(step), step.at))
      case 'KVM_SET_CPUID2':
        return this.ioctl('vcpu', KVM_IOCTL.KVM_SET_CPUID2, this.put(this.cpuidBytes(step), step.at))
      case 'KVM_SET_MSRS':
        return this.ioctl('vcpu', KVM_IOCTL.KVM_SET_MSRS, this.put(msrBytes(step), step.at))
      case 'raw':
        return this.ioctl(step.on, step.request, this.fill(step.fill))
      case 'prctl':
        return this.process.backend.syscall(
          NR_arch_prctl,
          step.option,
          isGet(step.option) ? this.argument.address : step.argument,
        )
      case 'run':
        return this.run()
    }
  }

  /** KVM_RUN for a moment. There is no guest memory: a vCPU that enters the guest comes back from its first fetch. */
  private run(): number {
    this.entered = false
    try {
      const { reason } = this.vcpu.run({ maxInstructions: RUN_INSTRUCTIONS })
      this.entered = reason === 'mmio' || reason === 'internal-error'
      return 0
    } catch (error) {
      if (error instanceof SyscallError) return -error.errnoNumber
      throw error
    }
  }

  /** XSTATE_BV of KVM_GET_XSAVE2, or of KVM_GET_XSAVE. */
  xstateBv(): bigint {
    const name = this.facts.host.profile.kvm.hasXsave2 ? 'KVM_GET_XSAVE2' : 'KVM_GET_XSAVE'
    this.ioctl('vcpu', KVM_IOCTL[name], this.argument.address)
    return new DataView(this.argument.bytes(512, 8).buffer).getBigUint64(0, true)
  }

  /** KVM_GET_XSAVE2, or KVM_GET_XSAVE: as many bytes as it writes. */
  getImage(): Uint8Array {
    this.xstateBv()
    return this.argument.bytes(0, this.facts.uabiSize)
  }
  /** KVM_SET_XSAVE of these bytes, zeros after them. Its result. */
  setImage(bytes: Uint8Array): number {
    this.image.fill(0)
    this.image.set(bytes)
    return this.ioctl('vcpu', KVM_IOCTL.KVM_SET_XSAVE, this.put(this.image, 'memory'))
  }

  /** The list that a CPUID step means. */
  cpuidList({ xcr0, addressSizes, noise }: CpuidStep): CpuidEntry2[] {
    const list = this.supported.filter((entry) => entry.function !== 0xd || xcr0 !== null).map((entry) => ({ ...entry }))
    for (const [at, register, value] of noise) {
      const entry = list[at % list.length]
      // The leaf that the rules look at says what the step says.
      if (entry.function !== 0xd && entry.function !== 1 && entry.function !== 0x80000008)
        entry[(['eax', 'ebx', 'ecx', 'edx'] as const)[register]] = value
    }
    const leaf = findCpuid(list, 0xd, 0)
    if (leaf !== undefined && xcr0 !== null) Object.assign(leaf, { eax: Number(xcr0 & 0xffffffffn), edx: Number(xcr0 >> 32n) })
    const sizes = findCpuid(list, 0x80000008)
    if (sizes !== undefined && addressSizes !== null) sizes.eax = addressSizes
    return list
  }

  end(): void {
    this.process.exit()
  }

  private ioctl(on: Descriptor, request: number, argument: number): number {
    const fd = on === 'vcpu' ? this.vcpu.fd : on === 'vm' ? this.vcpu.vm.fd : this.kvm.fd
    return this.process.backend.syscall(NR_ioctl, fd, request, argument)
  }

  /** Puts an argument where a step says. Its address. */
  private put(bytes: Uint8Array, at: Pointer): number {
    const end = this.argument.address + ARGUMENT_BYTES
    if (at === 'nowhere') return end
    if (at === 'memory') {
      this.argument.write(0, bytes)
      return this.argument.address
    }
    const readable = Math.min(at.readable, bytes.length)
    this.argument.write(ARGUMENT_BYTES - readable, bytes.subarray(0, readable))
    return end - readable
  }

  private fill(fill: Fill): number {
    if ('value' in fill) return fill.value
    return this.put(new Random(fill.seed).fill(this.noise), fill.at)
  }

  private buildImage({ base, bv, patches }: XsaveStep): void {
    const { image } = this
    if (base === 'got') {
      this.xstateBv()
      this.argument.read(0, image)
      image.fill(0, this.facts.uabiSize)
    } else if (base === 'zero') image.fill(0)
    else new Random(base).fill(image)
    const view = new DataView(image.buffer)
    for (const { at, bytes } of patches) image.set(bytes, at)
    if (bv !== null) view.setBigUint64(512, bv, true)
  }

  private cpuidBytes(step: CpuidStep): Uint8Array {
    const bytes = cpuidToBytes(this.cpuidList(step))
    if (step.count === null) return bytes
    const room = new Uint8Array(Math.max(bytes.length, kvm_cpuid2.size + Math.min(step.count, 256) * kvm_cpuid_entry2.size))
    room.set(bytes)
    new DataView(room.buffer).setUint32(0, step.count, true)
    return room
  }
}

const RUN_INSTRUCTIONS = 50
const isGet = (option: number): boolean => option === 0x1021 || option === 0x1022 || option === 0x1024

const known = new WeakMap<Host, HostFacts>()
function factsOf(host: Host): HostFacts {
  const facts = known.get(host) ?? hostFacts(host.model, host.kernel.profile)
  known.set(host, facts)
  return facts
}

function xcrsBytes({ count, flags, xcrs }: Extract<Step, { call: 'KVM_SET_XCRS' }>): Uint8Array {
  const bytes = new Uint8Array(0x188)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, count, true)
  view.setUint32(4, flags, true)
  xcrs.forEach(({ xcr, value }, i) => {
    view.setUint32(8 + i * 16, xcr, true)
    view.setBigUint64(16 + i * 16, value, true)
  })
  return bytes
}

function msrBytes({ msrs, count }: Extract<Step, { call: 'KVM_SET_MSRS' }>): Uint8Array {
  const bytes = new Uint8Array(8 + Math.max(msrs.length, Math.min(count, 256)) * 16)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, count, true)
  msrs.forEach(({ index, value }, i) => {
    view.setUint32(8 + i * 16, index, true)
    view.setBigUint64(16 + i * 16, value, true)
  })
  return bytes
}
