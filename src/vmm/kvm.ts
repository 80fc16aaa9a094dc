import { KVM_CAP, type KvmCapName } from '../kvm/abi/capabilities.ts'
import { kvm_device_attr } from '../kvm/abi/structs.ts'
import type { CpuidEntry2 } from './cpuid-list.ts'
import { cpuidFromBytes, cpuidRoom } from './cpuid-list.ts'
import { type MsrEntry, msrsFromBytes, msrsToBytes } from './msr-list.ts'
import type { Process } from './process.ts'
import { VmFd } from './vm-fd.ts'
import { XsaveGeometry } from './xsave-geometry.ts'

/** KVM_GET_DEVICE_ATTR of /dev/kvm: group 0, attribute 0 is the XCR0 that guests could have (XSAVE-02). */
const KVM_X86_XCOMP_GUEST_SUPP = 0n

const MAX_CPUID_ENTRIES = 256
const MAX_MSRS = 4096

/** /dev/kvm. */
export class Kvm {
  readonly fd: number
  readonly process: Process

  constructor(process: Process, fd: number) {
    this.process = process
    this.fd = fd
  }

  getApiVersion(): number {
    return this.process.ioctl(this.fd, 'KVM_GET_API_VERSION')
  }
  getVcpuMmapSize(): number {
    return this.process.ioctl(this.fd, 'KVM_GET_VCPU_MMAP_SIZE')
  }
  /** 0 = not there. */
  checkExtension(capability: KvmCapName | number): number {
    const nr = typeof capability === 'number' ? capability : KVM_CAP[capability]
    return this.process.ioctl(this.fd, 'KVM_CHECK_EXTENSION', nr)
  }

  createVm(type = 0): VmFd {
    return new VmFd(this, this.process.ioctl(this.fd, 'KVM_CREATE_VM', type))
  }

  /** What a guest's CPUID can be on this host, with the permissions the process has now (XSAVE-40). */
  getSupportedCpuid(): CpuidEntry2[] {
    const bytes = cpuidRoom(MAX_CPUID_ENTRIES)
    this.process.ioctlBytes(this.fd, 'KVM_GET_SUPPORTED_CPUID', bytes)
    return cpuidFromBytes(bytes)
  }
  /** What KVM emulates beyond that. */
  getEmulatedCpuid(): CpuidEntry2[] {
    const bytes = cpuidRoom(MAX_CPUID_ENTRIES)
    this.process.ioctlBytes(this.fd, 'KVM_GET_EMULATED_CPUID', bytes)
    return cpuidFromBytes(bytes)
  }

  /** MSRs to save and restore, then those KVM emulates. KAPI-77, KAPI-78. */
  getMsrIndexList(): number[] {
    return this.indexList('KVM_GET_MSR_INDEX_LIST')
  }
  /** MSRs that `getMsrs` of /dev/kvm answers. */
  getMsrFeatureIndexList(): number[] {
    return this.indexList('KVM_GET_MSR_FEATURE_INDEX_LIST')
  }
  /** Values of feature MSRs; ends before the first that is none (KAPI-73). */
  getMsrs(indices: readonly number[]): MsrEntry[] {
    const bytes = msrsToBytes(indices.map((index) => ({ index, data: 0n })))
    return msrsFromBytes(bytes, this.process.ioctlBytes(this.fd, 'KVM_GET_MSRS', bytes))
  }

  hasDeviceAttr(group: number, attr: bigint): boolean {
    return this.process.tryIoctlBytes(this.fd, 'KVM_HAS_DEVICE_ATTR', deviceAttr(group, attr, 0)) === 0
  }
  getDeviceAttr(group: number, attr: bigint): bigint {
    const result = this.process.allocate(4096)
    try {
      this.process.ioctlTakes(this.fd, 'KVM_GET_DEVICE_ATTR', deviceAttr(group, attr, result.address))
      return new DataView(result.bytes(0, 8).buffer).getBigUint64(0, true)
    } finally {
      this.process.release(result)
    }
  }

  /** Components a guest could have if the process had every permission; 0 on kernels without KVM_CAP_SYS_ATTRIBUTES. */
  supportedXcr0(): bigint {
    return this.hasDeviceAttr(0, KVM_X86_XCOMP_GUEST_SUPP) ? this.getDeviceAttr(0, KVM_X86_XCOMP_GUEST_SUPP) : 0n
  }

  /** Where components lie in this host's XSAVE images: CPUID leaf 0DH as far as the process may use it. */
  xsaveGeometry(): XsaveGeometry {
    return XsaveGeometry.fromCpuid(this.getSupportedCpuid())
  }

  close(): void {
    this.process.close(this.fd)
  }

  private indexList(name: 'KVM_GET_MSR_INDEX_LIST' | 'KVM_GET_MSR_FEATURE_INDEX_LIST'): number[] {
    const bytes = new Uint8Array(4 + 4 * MAX_MSRS)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, MAX_MSRS, true)
    this.process.ioctlBytes(this.fd, name, bytes)
    return Array.from({ length: view.getUint32(0, true) }, (_, i) => view.getUint32(4 + 4 * i, true))
  }
}

function deviceAttr(group: number, attr: bigint, addr: number): Uint8Array {
  const bytes = new Uint8Array(kvm_device_attr.size)
  const view = new DataView(bytes.buffer)
  view.setUint32(4, group, true)
  view.setBigUint64(8, attr, true)
  view.setBigUint64(16, BigInt(addr), true)
  return bytes
}
