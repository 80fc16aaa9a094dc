import { KVM_CAP } from '../../../src/kvm/abi/capabilities.ts'
import { kvm_xcrs } from '../../../src/kvm/abi/structs.ts'
import type { CpuidEntry2 } from '../../../src/vmm/cpuid-list.ts'
import type { Kvm } from '../../../src/vmm/kvm.ts'
import type { Host } from '../../../src/vmm/modelled/host.ts'
import type { Process } from '../../../src/vmm/process.ts'
import type { VcpuFd } from '../../../src/vmm/vcpu-fd.ts'
import type { VmFd } from '../../../src/vmm/vm-fd.ts'
import { type Answer, type Call, Calls, fnv, hex, hex8, sparse } from './calls.ts'

/** A CPUID list that can be edited. */
export type CpuidList = { -readonly [K in keyof CpuidEntry2]: CpuidEntry2[K] }[]

export const XTILE_DATA = 18
/** Leaves that the driver prints of a list. */
const SHOWN_LEAVES = new Set([1, 7, 0xd, 0x1d, 0x1e, 0x80000001, 0x80000008])
const IMAGE_ROOM = 65536
const UNWRITTEN = 0xa5

/**
 * One scenario's process with what it has opened, and the calls that every scenario is made of: the same, in the same order, as
 * the driver's functions of scripts/oracle/oracle.c make them, through the typed API.
 */
export class Session {
  readonly host: Host
  readonly calls: Calls
  process: Process
  vm: VmFd | null = null
  vcpu: VcpuFd | null = null
  /** The driver's buffer for images. */
  readonly image = new Uint8Array(IMAGE_ROOM)
  private opened: Kvm | null = null

  constructor(host: Host, process: Process, calls = new Calls()) {
    this.host = host
    this.process = process
    this.calls = calls
  }

  // ---- permissions ----

  reqPerm(nr: number): void {
    this.calls.call('REQ_XCOMP_PERM', [nr], () => this.process.archPrctl.reqXcompPerm(nr))
  }
  reqGuestPerm(nr: number): void {
    this.calls.call('REQ_XCOMP_GUEST_PERM', [nr], () => this.process.archPrctl.reqXcompGuestPerm(nr))
  }
  /** The three that tell. */
  gets(): void {
    const { archPrctl } = this.process
    this.get('GET_XCOMP_SUPP', () => archPrctl.getXcompSupp())
    this.get('GET_XCOMP_PERM', () => archPrctl.getXcompPerm())
    this.get('GET_XCOMP_GUEST_PERM', () => archPrctl.getXcompGuestPerm())
  }
  private get(name: string, read: () => bigint): void {
    let value: bigint | null = null
    const make = () => {
      value = read()
    }
    this.calls.call(name, null, make, () => (value === null ? {} : { value: hex(value) }))
  }

  // ---- /dev/kvm, VM, vCPU ----

  get kvm(): Kvm {
    this.opened ??= this.process.openKvm()
    return this.opened
  }
  createVm(): void {
    this.vm = this.kvm.createVm()
  }
  createVcpu(): void {
    this.vcpu = this.vm!.createVcpu()
  }

  /** Letters: p host permission, P guest permission; C the supported CPUID, M the minimal one. */
  profile(letters: string): void {
    const { kvm } = this
    if (letters.includes('p')) this.reqPerm(XTILE_DATA)
    if (letters.includes('P')) this.reqGuestPerm(XTILE_DATA)
    this.createVm()
    this.createVcpu()
    if (letters.includes('C')) this.setCpuid(kvm.getSupportedCpuid(), 'supported')
    if (letters.includes('M')) this.setCpuid(minimal(kvm.getSupportedCpuid()), 'minimal')
  }

  // ---- CPUID ----

  supported(): CpuidList {
    return this.kvm.getSupportedCpuid()
  }
  setCpuid(list: readonly CpuidEntry2[], tag: string): number {
    return this.calls.call('KVM_SET_CPUID2', [tag], () => this.vcpu!.setCpuid2(list))
  }
  /** A list with its length as result; only the leaves about extended state unless `all`. */
  dumpCpuid(name: string, read: () => CpuidEntry2[], all = false): CpuidList | null {
    let list: CpuidList | null = null
    const make = () => {
      list = read()
      return list.length
    }
    this.calls.call(name, null, make, () => {
      const shown = (list ?? []).filter((entry) => all || SHOWN_LEAVES.has(entry.function))
      return list === null ? {} : { entries: shown.map(printed) }
    })
    return list
  }

  // ---- XSAVE images ----

  /** Bytes of an image, as KVM_CAP_XSAVE2 says now. */
  imageSize(): number {
    return this.vm!.checkExtension(KVM_CAP.KVM_CAP_XSAVE2) || 4096
  }
  /** KVM_GET_XSAVE2, or KVM_GET_XSAVE where there is no other, into `image`; what it leaves alone can be told. */
  getImage(): void {
    this.image.fill(UNWRITTEN)
    const has2 = this.vm!.checkExtension(KVM_CAP.KVM_CAP_XSAVE2) > 0
    this.process.ioctlBytes(this.vcpu!.fd, has2 ? 'KVM_GET_XSAVE2' : 'KVM_GET_XSAVE', this.image)
  }
  dumpImage(): void {
    const size = this.imageSize()
    this.calls.call(
      'KVM_GET_XSAVE2',
      null,
      () => this.getImage(),
      ({ ret }) => ({ size, ...(ret === 0 ? this.describeImage(size) : {}) }),
    )
  }
  private describeImage(size: number): Call {
    const { image } = this
    const view = new DataView(image.buffer)
    const written = image.findLastIndex((byte) => byte !== UNWRITTEN) + 1
    const counted = Math.min(size, written)
    return {
      bytes_written: written,
      xstate_bv: hex(view.getBigUint64(512, true)),
      xcomp_bv: hex(view.getBigUint64(520, true)),
      fcw: hex(view.getUint16(0, true)),
      mxcsr: hex(view.getUint32(24, true)),
      mxcsr_mask: hex(view.getUint32(28, true)),
      fnv: fnv(image, counted),
      ...sparse(image, counted),
    }
  }

  // ---- XCR0 and MSRs ----

  getXcrs(more = false): void {
    let xcrs: { nr_xcrs: number; xcrs: { xcr: number; value: bigint }[] } | null = null
    const make = () => {
      xcrs = this.readXcrs()
    }
    const show = () =>
      xcrs === null ? {} : { nr: xcrs.nr_xcrs, ...(more ? { xcr: xcrs.xcrs[0].xcr } : {}), value: hex(xcrs.xcrs[0].value) }
    this.calls.call('KVM_GET_XCRS', null, make, show)
  }
  readXcrs() {
    return this.process.get(this.vcpu!.fd, 'KVM_GET_XCRS', kvm_xcrs)
  }
  setXcr0(value: bigint): void {
    this.calls.call('KVM_SET_XCRS', [hex(value)], () => this.vcpu!.setXcr0(value))
  }
  getMsr(index: number): void {
    let value: bigint | undefined
    const make = () => {
      const read = this.vcpu!.getMsrs([index])
      value = read[0]?.data
      return read.length
    }
    this.calls.call('KVM_GET_MSRS', [hex(index)], make, () => (value === undefined ? {} : { value: hex(value) }))
  }
  setMsr(index: number, data: bigint, more?: (answer: Answer) => Call): void {
    this.calls.call('KVM_SET_MSRS', [hex(index), hex(data)], () => this.vcpu!.setMsrs([{ index, data }]), more)
  }
}

const printed = ({ function: leaf, index, flags, eax, ebx, ecx, edx }: CpuidEntry2): unknown[] => [
  hex(leaf),
  index,
  flags,
  hex8(eax),
  hex8(ebx),
  hex8(ecx),
  hex8(edx),
]

/** The first entry with this leaf and index. */
export const entryOf = (list: CpuidList, leaf: number, index = 0): CpuidList[number] | undefined =>
  list.find((entry) => entry.function === leaf && entry.index === index)

/** ... added empty where there is none. */
export function entryFor(list: CpuidList, leaf: number, index = 0): CpuidList[number] {
  const found = entryOf(list, leaf, index)
  if (found !== undefined) return found
  const added = { function: leaf, index, flags: 1, eax: 0, ebx: 0, ecx: 0, edx: 0 }
  list.push(added)
  return added
}

/** Sets and clears bits of a register of an entry. */
export function edit(
  entry: CpuidList[number] | undefined,
  register: 'eax' | 'ebx' | 'ecx' | 'edx',
  set: number,
  clear = 0,
): void {
  if (entry !== undefined) entry[register] = ((entry[register] & ~clear) | set) >>> 0
}

export const bits = (...numbers: number[]): number => numbers.reduce((mask, n) => mask | (1 << n), 0)
export const AMX_FEATURES = bits(22, 24, 25)

/** Without AVX, AVX-512, PKU, CET and AMX. */
function minimal(list: CpuidList): CpuidList {
  const [d0, d1, seven] = [entryOf(list, 0xd), entryOf(list, 0xd, 1), entryOf(list, 7)]
  if (d0 !== undefined) Object.assign(d0, { eax: 3, edx: 0 })
  if (d1 !== undefined) Object.assign(d1, { ecx: 0, edx: 0 })
  edit(seven, 'ecx', 0, bits(3, 7))
  edit(seven, 'edx', 0, bits(20) | AMX_FEATURES)
  edit(seven, 'ebx', 0, bits(16, 5))
  edit(entryOf(list, 1), 'ecx', 0, bits(28))
  return list
}
