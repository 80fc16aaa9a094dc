import type { Kernel } from '../kernel.ts'
import type { XstateConfig } from './config.ts'
import type { GuestFpu } from './door.ts'
import type { FpState } from './fpstate.ts'

/** What a handle of the door stands for (Linux's struct fpu_guest). GFPU §1. */
export class GuestFpuState {
  readonly kernel: Kernel
  fpstate: FpState | null
  /** Components the image is sized for. */
  xfeatures: number
  xfdErr = 0
  /** Components that room is to be made for when the image is put: design D1 (GFPU-35). */
  reallocRequest = 0
  uabiSize: number

  constructor(kernel: Kernel, fpstate: FpState) {
    const { xstate } = kernel
    this.kernel = kernel
    this.fpstate = fpstate
    this.xfeatures = xstate.guestDefault
    this.uabiSize = Math.max(xstate.profile.kvm.baseUabiSizeFloor4096 ? 4096 : 0, xstate.userDefaultSize)
  }
}

export function stateOf(handle: GuestFpu): GuestFpuState {
  return handle as unknown as GuestFpuState
}
export function imageOf(handle: GuestFpu): FpState {
  const { fpstate } = stateOf(handle)
  if (fpstate === null) throw new Error('guest FPU used after it was freed')
  return fpstate
}

/** KVM's old way: all components are a guest's without asking (PERM-64). */
export const ignoresPermission = (xstate: XstateConfig): boolean => xstate.profile.permissions.guestPermission === 'ignored'
