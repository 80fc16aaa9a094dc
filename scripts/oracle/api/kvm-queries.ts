import { SyscallError } from '../../../src/vmm/errors.ts'
import { fnv, hex } from './calls.ts'
import { Session, XTILE_DATA } from './session.ts'

const CAPABILITIES = [7, 24, 55, 56, 61, 72, 75, 188, 194, 208, 209, 213, 215, 216, 221, 233, 235, 237]

/** kvm.caps.* */
export function capabilities(session: Session, permission: string): void {
  const { calls, kvm } = session
  if (permission === 'guest_permission') session.reqGuestPerm(XTILE_DATA)
  calls.call('KVM_GET_API_VERSION', null, () => kvm.getApiVersion())
  for (const nr of CAPABILITIES) calls.call('KVM_CHECK_EXTENSION', ['/dev/kvm', nr], () => kvm.checkExtension(nr))
  session.createVm()
  for (const nr of CAPABILITIES) calls.call('KVM_CHECK_EXTENSION', ['vm', nr], () => session.vm!.checkExtension(nr))
  let value = 0n
  const read = () => {
    value = kvm.getDeviceAttr(0, 0n)
  }
  calls.call('KVM_GET_DEVICE_ATTR', ['KVM_X86_XCOMP_GUEST_SUPP'], read, () => ({ value: hex(value) }))
}

/** kvm.supported_cpuid.* */
export function supportedCpuid(session: Session, permission: string): void {
  const { kvm } = session
  if (permission === 'host_permission') session.reqPerm(XTILE_DATA)
  if (permission === 'guest_permission') session.reqGuestPerm(XTILE_DATA)
  session.dumpCpuid('KVM_GET_SUPPORTED_CPUID', () => kvm.getSupportedCpuid(), true)
}

/** kvm.msr_lists: both lists, and the value of each feature MSR. */
export function msrLists(session: Session): void {
  const { calls, kvm } = session
  const list = (name: string, read: () => number[]): number[] => {
    let indices: number[] = []
    const make = () => {
      indices = read()
    }
    calls.call(name, null, make, () => ({ n: indices.length, msrs: indices.map(hex) }))
    return indices
  }
  list('KVM_GET_MSR_INDEX_LIST', () => kvm.getMsrIndexList())
  for (const index of list('KVM_GET_MSR_FEATURE_INDEX_LIST', () => kvm.getMsrFeatureIndexList())) {
    let value = 0n
    const read = () => {
      const entries = kvm.getMsrs([index])
      value = entries[0]?.data ?? 0n
      return entries.length
    }
    calls.call('KVM_GET_MSRS', ['/dev/kvm', hex(index)], read, () => ({ value: hex(value) }))
  }
}

/** kvm.perm_order.LETTERS */
export function permissionOrder(session: Session, letters: string): void {
  const { calls, kvm } = session
  for (const letter of letters) {
    if (letter === 'v') {
      session.createVm()
      calls.note('vm created')
    } else if (letter === 'c') {
      session.createVcpu()
      calls.note('vcpu created')
    } else if (letter === 'r') {
      session.vcpu!.close()
      session.vm!.close()
      calls.note('vcpu and vm closed')
    } else if (letter === 'g') session.reqGuestPerm(XTILE_DATA)
    else if (letter === 'h') session.reqGuestPerm(17)
    else if (letter === 'b') session.reqGuestPerm(9)
    else if (letter === 'p') session.reqPerm(XTILE_DATA)
    else if (letter === 'x') calls.call('KVM_CHECK_EXTENSION', ['vm', 'XSAVE2'], () => askXsave2(session))
    else if (letter === 'd') session.dumpImage()
    else if (letter === 'F') {
      const child = new Session(session.host, kvm.process.fork(), calls)
      calls.note('in forked child')
      child.reqGuestPerm(XTILE_DATA)
      child.gets()
      child.process.exit()
    } else session.gets()
  }
}

const EBADF = 9

/** The driver asks fd -1 where there is no VM yet. */
function askXsave2({ vm }: Session): number {
  if (vm === null) throw new SyscallError('KVM_CHECK_EXTENSION', EBADF, null)
  return vm.checkExtension('KVM_CAP_XSAVE2')
}

/** kvm.fresh.PROFILE: everything a new vCPU shows of extended state. */
export function freshVcpu(session: Session, profile: string): void {
  session.profile(profile)
  session.dumpImage()
  const { calls, process, image } = session
  const vcpu = session.vcpu!
  image.fill(0)
  calls.call(
    'KVM_GET_XSAVE',
    null,
    () => process.ioctlBytes(vcpu.fd, 'KVM_GET_XSAVE', image),
    () => ({ fnv4096: fnv(image, 4096) }),
  )
  session.getXcrs(true)
  let fpu = { fcw: 0, mxcsr: 0 }
  const read = () => {
    fpu = vcpu.getFpu()
  }
  calls.call('KVM_GET_FPU', null, read, () => ({ fcw: hex(fpu.fcw), mxcsr: hex(fpu.mxcsr) }))
  session.dumpCpuid('KVM_GET_CPUID2', () => vcpu.getCpuid2())
}
