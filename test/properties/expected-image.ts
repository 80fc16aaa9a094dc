import { FP, PKRU, SSE, shownFeatures, standardBytes, suppliedMask, type VcpuFacts, YMM } from '../../scripts/fuzz/facts.ts'

/**
 * The image KVM_GET_XSAVE2 gives after KVM_SET_XSAVE of `supplied` on a vCPU whose image was initial, by the words of XSAVE-06..11,
 * XSAVE-22..24.
 */
export function expectedImage(vcpu: VcpuFacts, supplied: Uint8Array): Uint8Array {
  const { host } = vcpu
  const loaded = suppliedMask(vcpu, supplied)
  const shown = loaded & shownFeatures(vcpu)
  const image = new Uint8Array(vcpu.uabiSize)
  const view = new DataView(image.buffer)
  const copy = (from: number, to: number) => image.set(supplied.subarray(from, to), from)
  if (shown & FP) {
    copy(0, 24)
    copy(32, 160)
  } else view.setUint16(0, 0x37f, true)
  // MXCSR and its mask were taken with any of the three; they are shown with SSE or YMM (XSAVE-08, -22).
  if (shown & (SSE | YMM)) copy(24, 32)
  else {
    view.setUint32(24, 0x1f80, true)
    view.setUint32(28, host.mxcsrMask, true)
  }
  if (shown & SSE) copy(160, 416)
  view.setUint32(464, host.userMax, true)
  view.setUint32(512, shown >>> 0, true)
  for (const { nr, offset, size } of host.components) {
    if (((shown >>> nr) & 1) === 0) continue
    copy(offset, offset + (1 << nr === PKRU ? 4 : size))
  }
  return image
}

/** `noise` made into an image that KVM_SET_XSAVE takes: header and MXCSR of what the host can load. */
export function loadable(vcpu: VcpuFacts, noise: Uint8Array, bv: bigint, mask: number): Uint8Array {
  const image = noise.slice(0, Math.max(vcpu.uabiSize, standardBytes(vcpu.host, vcpu.host.userMax)))
  const view = new DataView(image.buffer)
  image.fill(0, 512, 576)
  view.setUint32(24, view.getUint32(24, true) & vcpu.host.mxcsrMask, true)
  view.setBigUint64(512, bv & BigInt((mask & vcpu.host.kvmXcr0) >>> 0), true)
  return image.subarray(0, vcpu.uabiSize)
}
